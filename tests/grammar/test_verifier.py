"""Finished values are held to the schema, and the place that can mend them is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cierzo.grammar.verifier import Verifier

FAULTS = [
    ({"properties": {"a": {"type": "integer"}}}, '{"a": "x", "b": 1}', '"x"'),
    ({"properties": {"é": {"maxLength": 1}}}, '{"é": "éé"}', '"éé"'),
    ({"required": ["b"]}, '{"a": 1}', "}"),
    ({"minItems": 3}, "[1, 2]", "]"),
    ({"maxItems": 1}, "[1, 2, 3]", ", "),
    ({"maxProperties": 1}, '{"a": 1, "b": 2}', ", "),
    ({"minLength": 3}, '"ab"', '"'),
    ({"uniqueItems": True}, '["x", "y", "x", "z"]', '"x"'),
    ({"additionalProperties": False, "properties": {"a": {}}}, '{"a": 1, "b": 2}', '"b"'),
    ({"properties": {"b": False}}, '{"a": 1, "b": 2}', '"b"'),
    ({"propertyNames": {"pattern": "^a"}}, '{"ab": 1, "ba": 2}', '"ba"'),
    ({"properties": {"a": {}}, "unevaluatedProperties": False}, '{"a": 1, "b": 2}', '"b"'),
    ({"contains": {"type": "string"}}, "[1, 2]", "]"),
    ({"anyOf": [{"type": "string"}, {"properties": {"a": {"type": "null"}}}]}, '{"a": "x"}', '"x"'),
    ({"properties": {"a": {"minimum": 3}}}, '{"a": 12, "b": {"a": 1}}', None),
    ({"items": {"minimum": 3}}, "[5, 1, 7]", "1,"),
    ({"not": {"required": ["a"]}}, '{"a": 1}', '{"a": 1}'),
    ({"pattern": "^(a+)+$"}, '"' + "a" * 60 + '!"', '"' + "a" * 60 + '!"'),
    ({"format": "date"}, '"2023-02-29"', '"2023-02-29"'),
    ({}, '{"a": 1, "a": 2}', '"a"'),
    ({}, "NaN", "N"),
    ({}, "[1,]", "]"),
    ({}, "1e999", "1e999"),
    ({}, "[1e30999999]", "1e309"),
    ({}, "1 2", "2"),
]


@pytest.mark.parametrize(("schema", "text", "fault"), FAULTS)
def test_the_fault_is_found_where_it_is(schema: Any, text: str, fault: str | None) -> None:
    violation = Verifier(json.dumps(schema)).violation(text.encode())
    if fault is None:
        assert violation is None
        return
    assert violation is not None
    assert text.encode()[violation.start : violation.end].decode() == fault
    assert violation.message


def test_of_several_faults_the_first_in_the_text_is_told() -> None:
    verifier = Verifier(json.dumps({"items": {"type": "integer"}, "maxItems": 2}))
    violation = verifier.violation(b'[1, "x", 2, "y"]')
    assert violation is not None
    assert (violation.start, violation.end) == (4, 7)


def test_after_a_number_more_digits_could_have_come() -> None:
    violation = Verifier('{"minimum": 10}').violation(b"3")
    assert violation is not None
    assert violation.end == 2


def test_equal_numbers_are_equal_and_true_is_none() -> None:
    verifier = Verifier('{"uniqueItems": true}')
    assert verifier.violation(b"[1, true, 0, false]") is None
    assert verifier.violation(b"[1, 1.0]") is not None


@pytest.mark.parametrize(
    "schema",
    [
        {"patternProperties": {"^(a|a)+$": True}, "additionalProperties": False},
        {"propertyNames": {"pattern": "^(a|a)+$"}},
        {"patternProperties": {"^(a|a)+$": True}, "unevaluatedProperties": False},
    ],
)
def test_names_cannot_make_it_run_away(schema: Any) -> None:
    violation = Verifier(json.dumps(schema)).violation(b'{"' + b"a" * 60 + b'!": 1}')
    assert violation is not None


def test_too_much_work_counts_as_wrong() -> None:
    schema = {"items": {"anyOf": [{"type": "string"}] * 20}}
    text = json.dumps([1] * 200).encode()
    violation = Verifier(json.dumps(schema), work=10_000).violation(text)
    assert violation is not None
    assert "cannot be verified" in violation.message


def test_references_are_followed_and_never_fetched() -> None:
    schema = {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}}
    assert Verifier(json.dumps(schema)).violation(b"1") is None
    violation = Verifier('{"$ref": "http://example.com/x"}').violation(b"1")
    assert violation is not None
    assert "cannot be verified" in violation.message


def test_deep_nesting_is_refused() -> None:
    assert Verifier("{}").violation(b"[" * 5000 + b"]" * 5000) is not None


def test_bytes_that_are_no_text_are_refused() -> None:
    violation = Verifier("{}").violation(b'"\xff"')
    assert violation is not None
    assert (violation.start, violation.end) == (1, 2)
