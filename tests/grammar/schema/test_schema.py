"""What masks and verifier let through: all that is valid, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cierzo.grammar.schema import enforce
from tests.support.masks import lets_through, takes

# Values are written in the order of the schema's properties, which is the order masks have.
LINES = (Path(__file__).parent / "schemas.jsonl").read_text().splitlines()
CASES = {case["name"]: case for case in map(json.loads, LINES)}


@pytest.mark.parametrize("name", CASES)
def test_what_is_valid_comes_through_and_nothing_else(name: str) -> None:
    schema = CASES[name]["schema"]
    for value in CASES[name]["valid"]:
        assert lets_through(schema, value), value
    for value in CASES[name]["invalid"]:
        assert not lets_through(schema, value), value


EXACT = [
    "one-of-types",
    "one-of-refs",
    "one-of-required",
    "not-required",
    "not-enum",
    "one-of-tags",
    "dependent-required",
    "names-pattern",
    "names-enum",
    "switch",
    "if-then-else",
    "recursion",
    "min-properties",
    "lookahead",
    "date",
    "enum-filtered",
    "old-bounds",
    "ref-siblings",
]


@pytest.mark.parametrize("name", EXACT)
def test_these_need_no_check(name: str) -> None:
    assert enforce(CASES[name]["schema"]).exact


@pytest.mark.parametrize(
    "name",
    ["unique", "contains", "regex-format", "word-boundary", "patterns-overlap", "min-2-properties"],
)
def test_these_do(name: str) -> None:
    assert not enforce(CASES[name]["schema"]).exact


def test_enforcing_is_pure_and_repeatable() -> None:
    schema: Any = {
        "oneOf": [{"$ref": "#/$defs/a"}, {"type": "null"}],
        "$defs": {"a": {"not": {"type": "string"}}},
    }
    before = json.dumps(schema)
    assert enforce(schema).expression == enforce(schema).expression
    assert json.dumps(schema) == before


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1}',
        '{"a": 1,"b": 2}',
        '{ "a": 1}',
        '{"a": 1 }',
        '{"\\u0061": 1}',
        '"\\/"',
        '"\\u00e9"',
        "[1,2]",
        " 1",
        "01",
    ],
)
def test_only_the_spelling_of_json_dumps_is_allowed(text: str) -> None:
    enforced = enforce(True)
    assert not takes(enforced, text)
    assert takes(enforced, json.dumps(json.loads(text.replace("01", "1")), ensure_ascii=False))


def test_names_that_are_taken_cannot_come_again_in_another_spelling() -> None:
    enforced = enforce({"type": "object", "properties": {"a": {"type": "integer"}}})
    assert takes(enforced, '{"a": 1, "b": "x"}')
    assert not takes(enforced, '{"a": 1, "a": "x"}')
    assert not takes(enforced, '{"a": 1, "\\u0061": "x"}')
