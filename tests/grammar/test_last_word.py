"""What is said of values that a mask should have made valid: what a plain checker would say."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

from cierzo.grammar.pattern import Work
from cierzo.grammar.verifier import Verifier
from tests.support.odd_values import schemas, values

many = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@many
@given(schemas, values)
def test_it_is_what_jsonschema_says(schema: Any, value: Any) -> None:
    """Or that engines disagree: then it is not valid, whatever one of them says."""
    text = json.dumps(value, ensure_ascii=False).encode()
    fault = Verifier(schema).fault(text)
    violation = Verifier(schema).violation(text)
    assert (fault is None) == (violation is None)
    if fault is None:
        assert jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    ("schema", "text", "said"),
    [
        ({"type": "integer"}, "1.5", "is not of type"),
        ({"const": "\x07bell"}, '"bell"', "was expected"),
        ({"enum": [9007199254740993]}, "9007199254740992", "is not one of"),
        ({"enum": [9007199254740993]}, "9007199254740993", None),
        ({"const": 1}, "true", "was expected"),
        ({"const": 1}, "1.0", None),
        ({"minimum": 2**53 + 1}, "9007199254740992", "less than the minimum"),
        ({"exclusiveMaximum": 0.1}, "0.09999999999999999999999", "maximum"),
        ({"multipleOf": 0.01}, "19.99", None),
        ({"multipleOf": 0.01}, "1e999", "is not a multiple"),
        ({"minLength": 2}, '"\U0001f600"', "too short"),
        ({"maxLength": 1}, '"\\u0000"', None),
        ({"required": ["\x00"]}, '{"\\u0000": 1}', None),
        ({"properties": {"\x7f": False}}, '{"\x7f": 1}', "may not be there"),
        ({}, "[1, 2", "not JSON"),
        ({}, "9" * 4_000, None),
    ],
)
def test_it_says_what_is_wrong(schema: Any, text: str, said: str | None) -> None:
    fault = Verifier(schema).fault(text.encode())
    assert fault is None if said is None else said in (fault or "")


def test_too_much_work_counts_as_right() -> None:
    """The mask is believed where nobody can know better: a valid answer is not thrown away."""
    schema = {"items": {"anyOf": [*([{"type": "string"}] * 20), {"type": "integer"}]}}
    text = json.dumps([*range(200), None]).encode()
    assert Verifier(schema, Work(10_000)).fault(text) is None
    assert Verifier(schema).fault(text) is not None
