"""Values that are hard to write, in every place of a schema: masks are neither wrong nor dead."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cierzo.grammar.schema import Enforced, SchemaError, enforce
from cierzo.grammar.verifier import Verifier
from tests.support.masks import lets_through, matcher_for, takes, walked
from tests.support.odd_values import CHARACTERS, HALVES, numbers, patterns, schemas, texts, values

many = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def enforced(schema: Any) -> Enforced | None:
    try:
        return enforce(schema)
    except SchemaError:
        return None


def spelled(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other) or jsonschema.Draft202012Validator({"const": one}).is_valid(
        other
    )


@many
@given(values)
def test_a_constant_is_written_as_json_writes_it(value: Any) -> None:
    for schema in ({"const": value}, {"enum": [value]}, {"enum": [value, value]}):
        held = enforce(schema)
        assert held.exact
        text = walked(matcher_for(held), random.Random(0), most=10_000)
        assert text is not None
        assert same(json.loads(text), value)


@many
@given(st.lists(values, min_size=1, max_size=5), values)
def test_an_enumeration_lets_its_values_through_and_no_others(some: list[Any], other: Any) -> None:
    held = enforce({"enum": some})
    plain = jsonschema.Draft202012Validator({"enum": some})
    for value in some:
        text = walked(matcher_for(held), random.Random(len(spelled(value))), most=10_000)
        assert text is not None
        assert plain.is_valid(json.loads(text))
    assert takes(held, spelled(other)) <= plain.is_valid(other)


@many
@given(texts, values)
def test_a_key_is_written_as_json_writes_it(name: str, value: Any) -> None:
    schema = {
        "type": "object",
        "properties": {name: {"const": value}},
        "required": [name],
        "additionalProperties": False,
    }
    text = walked(matcher_for(enforce(schema)), random.Random(0), most=10_000)
    assert text is not None
    assert same(json.loads(text), {name: value})


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("schema", [{"const": "a{}"}, {"enum": [["{}"]]}, {"required": ["{}b"]}])
def test_half_of_a_surrogate_pair_is_named(half: str, schema: Any) -> None:
    """No answer could have it: the server has put U+FFFD in its place before."""
    with pytest.raises(SchemaError, match="half of a surrogate pair"):
        enforce(json.loads(json.dumps(schema).replace("{}", f"\\u{ord(half):04x}")))


@many
@given(schemas, st.integers(0, 99))
def test_what_a_mask_lets_through_is_valid_if_it_is_said_to_be_exact(
    schema: Any, seed: int
) -> None:
    held = enforced(schema)
    if held is None:
        return
    plain = jsonschema.Draft202012Validator(schema)
    matcher, draw, verifier = matcher_for(held), random.Random(seed), Verifier(schema)
    for _ in range(4):
        text = walked(matcher, draw)
        if text is None:
            continue
        valid = plain.is_valid(json.loads(text))
        assert valid or not held.exact, text
        if verifier.violation(text.encode()) is None:
            assert valid, text


@many
@given(
    st.dictionaries(
        st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]),
        numbers,
        min_size=1,
        max_size=2,
    ),
    st.sampled_from(["integer", "number"]),
    numbers,
)
def test_bounds_of_any_size(bounds: dict[str, Any], kind: str, other: int | float) -> None:
    schema = {"type": kind, **bounds}
    plain = jsonschema.Draft202012Validator(schema)
    near = [
        other,
        *bounds.values(),
        *(bound + step for bound in bounds.values() for step in (-1, 1)),
    ]
    valid = [value for value in near if plain.is_valid(value)]
    held = enforced(schema)
    if held is None:
        assert valid == []
        return
    assert held.exact
    for value in near:
        if takes(held, spelled(value)):
            assert value in valid
        elif isinstance(value, int) and value in valid:  # a float may have another spelling
            assert abs(value) > 10**40


@many
@given(patterns, st.sampled_from(CHARACTERS))
def test_a_pattern_of_one_character_takes_it(pattern: str, char: str) -> None:
    held = enforced({"type": "string", "pattern": pattern})
    plain = jsonschema.Draft202012Validator({"pattern": pattern})
    if held is not None:
        assert takes(held, spelled(char)) <= plain.is_valid(char)


@pytest.mark.parametrize("char", [char for char in CHARACTERS if char not in '\\"/'])
def test_a_pattern_may_ask_for_any_character(char: str) -> None:
    for pattern in (char, f"^{char}+$", f"^[{char}]$", f"\\x{ord(char):02x}"):
        if len(pattern) < 5 or ord(char) < 256:
            schema = {"type": "string", "pattern": pattern}
            assert lets_through(schema, char)
            assert not lets_through(schema, "z")
            names = {"type": "object", "patternProperties": {pattern: {"const": 1}}}
            closed = {**names, "additionalProperties": False}
            assert lets_through(closed, {char: 1})
            assert not lets_through(closed, {"z": 1})
            assert not lets_through(names, {char: 2})


@pytest.mark.parametrize(
    ("step", "good", "bad"),
    [
        (0.01, [1.11, 4.02, 19.99, 0, -0.07, 100, 1e3, 123456.78], [1.111, 0.005]),
        (0.1, [0.3, 0.7, 1.1, 2.0], [0.25]),
        (0.001, [0.057, 8.001], [0.0005]),
        (1e-7, [3e-7, 0.0000012], [1.5e-8]),
        (2.5, [7.5, 10, -2.5], [1]),
        (3, [9, 9007199254740993, -6], [4, 9007199254740992]),
        (10**20, [3 * 10**20, 1e20], [10**19]),
    ],
)
def test_decimals_are_divided_as_decimals(step: float, good: list[Any], bad: list[Any]) -> None:
    schema = {"multipleOf": step}
    verifier = Verifier(schema)
    for value in good:
        assert verifier.violation(spelled(value).encode()) is None, value
        assert Decimal(spelled(value)) % Decimal(str(step)) == 0
        assert enforce({"const": value, **schema}).exact
        if "e" not in spelled(value):  # bounds and steps leave numbers without an exponent
            assert lets_through(schema, value), value
    for value in bad:
        assert verifier.violation(spelled(value).encode()) is not None, value
        assert not lets_through(schema, value)
        with pytest.raises(SchemaError):
            enforce({"const": value, **schema})
