"""Patterns that Python and ECMA-262 read differently: what leaves is valid for both."""

from __future__ import annotations

import itertools
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

from cierzo.grammar.pattern import Work, found, is_clear, parse
from cierzo.grammar.schema import SchemaError, enforce
from cierzo.grammar.verifier import Verifier
from tests.support.masks import takes
from tests.support.odd_values import CHARACTERS, patterns, texts

many = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
PATTERNS = [
    *(r"^\w+$", r"\w", r"\s", r"^\S*$", r"\d", r"\D", r"^.$", ".", "a$", "^a.*b$", r"^\W$"),
    *(r"\bx\b", r"\Bx", r"^(?!\d)", r"^(?!.*x$)", r"(?<!\s)x", r"[^\s]", r"[\d]", "$", r"x\Z"),
]
TEXTS = [
    *(
        "",
        "a",
        "a\n",
        "x",
        "x\n",
        "éx",
        "xé",
        "é",
        "٣",
        "٣x",
        "\r",
        "\r\n",
        "\x1c",
        "\x85",
        "\u2028",
    ),
    *("a\u2028b", "a\rb", "ab\n", "\ufeff", "\ufeffx", "\u00a0x", "_x", "-x-", "5", "a\nx\n"),
]


def is_valid(schema: Any, value: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_as_python_is_what_python_reads(pattern: str) -> None:
    node = parse(pattern, as_python=True)
    for text in TEXTS:
        assert found(node, text, Work()) == is_valid({"pattern": pattern}, text), text


@many
@given(patterns, texts)
def test_any_pattern_as_python_reads_it(pattern: str, text: str) -> None:
    node = parse(pattern, as_python=True)
    assert found(node, text, Work()) == is_valid({"pattern": pattern}, text)


def around(pattern: str) -> list[Any]:
    """Schemas that ask for the pattern, or that ask that it is not there."""
    return [
        {"pattern": pattern},
        {"not": {"pattern": pattern}},
        {"not": {"not": {"pattern": pattern}}},
        {"oneOf": [{"pattern": pattern}, {"minLength": 2}]},
        {"if": {"pattern": pattern}, "then": {"maxLength": 1}},
        {"anyOf": [{"not": {"pattern": pattern}}, {"const": "a\n"}]},
    ]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_is_taken_is_valid_for_both(pattern: str) -> None:
    for schema in around(pattern):
        verifier = Verifier(schema)
        try:
            held = enforce({"type": "string", **schema})
        except SchemaError:
            held = None
        for text in TEXTS:
            written = json.dumps(text, ensure_ascii=False)
            taken = verifier.violation(written.encode()) is None
            assert taken <= is_valid(schema, text), (schema, text)
            if held is not None and held.exact and takes(held, written):
                assert is_valid(schema, text), (schema, text)
                assert verifier.fault(written.encode()) is None


@pytest.mark.parametrize("pattern", PATTERNS)
def test_names_too(pattern: str) -> None:
    for schema in (
        {"patternProperties": {pattern: False}},
        {"patternProperties": {pattern: {"const": 1}}, "additionalProperties": {"const": 2}},
        {"propertyNames": {"pattern": pattern}},
        {"propertyNames": {"not": {"pattern": pattern}}},
    ):
        verifier = Verifier(schema)
        held = enforce({"type": "object", **schema})
        for text, value in itertools.product(TEXTS, (1, 2)):
            written = json.dumps({text: value}, ensure_ascii=False).encode()
            if verifier.violation(written) is None:
                assert is_valid(schema, {text: value}), (schema, text)
            if held.exact and takes(held, written.decode()):
                assert is_valid(schema, {text: value}), (schema, text)


@pytest.mark.parametrize("char", CHARACTERS)
def test_an_ordinary_pattern_is_clear_about_any_character(char: str) -> None:
    for pattern in ("^a", "[a-z]", "b|c", "x{2}"):
        assert is_clear(pattern)
        schema = {"not": {"pattern": pattern}}
        text = json.dumps(char, ensure_ascii=False).encode()
        assert (Verifier(schema).violation(text) is None) is is_valid(schema, char)


def test_the_fault_is_told_where_it_is() -> None:
    """Also where only Python finds it."""
    schema = {"items": {"not": {"pattern": r"^\w$"}}}
    text = '["-", "é", "-"]'
    violation = Verifier(schema).violation(text.encode())
    assert violation is not None
    assert text.encode()[violation.start : violation.end].decode() == '"é"'
