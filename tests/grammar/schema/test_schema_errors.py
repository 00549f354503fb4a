"""Schemas that cannot be served are refused, and the part is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cierzo.grammar.schema import DEFAULT_LIMITS, SchemaError, enforce


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


LINES = (Path(__file__).parent / "refused.jsonl").read_text().splitlines()
REFUSED = [
    *((case["path"], case["schema"]) for case in map(json.loads, LINES)),
    ("enum", {"enum": [str(number) for number in range(100_000)]}),
    ("description", {"description": "x" * 10_000_000}),
    ("properties", {"properties": {f"p{number}": {} for number in range(3_000)}}),
    ("pattern", {"pattern": "a" * 30_000}),
    ("properties.a.properties.a.properties.a", nested(3_000)),
]


@pytest.mark.parametrize(("path", "schema"), REFUSED)
def test_it_is_refused_and_the_part_is_named(path: str, schema: Any) -> None:
    with pytest.raises(SchemaError) as caught:
        enforce(schema)
    assert ".".join(map(str, caught.value.path)) == path
    assert "\n" not in str(caught.value)
    assert 0 < len(str(caught.value)) <= 300


def chain(length: int, link: Callable[[Any], Any]) -> dict[str, Any]:
    """Definitions that each refer to the next one."""
    names = [f"d{number}" for number in range(length + 1)]
    links = {name: link({"$ref": f"#/$defs/{after}"}) for name, after in pairwise(names)}
    return {"$ref": "#/$defs/d0", "$defs": {**links, names[-1]: {}}}


def wants(name: str, value: int) -> dict[str, Any]:
    return {"properties": {name: {"const": value}}, "required": [name]}


HOSTILE: list[Any] = [
    {"type": "string", "pattern": "^(a+)+$"},
    {"pattern": "^((a{1,100}){1,100}){1,100}$"},
    {"patternProperties": {"^(a|a)*$": {"type": "string"}, "^(a|b|ab)*c$": {"type": "integer"}}},
    {"allOf": [{"anyOf": [wants(f"a{i}", j) for j in range(5)]} for i in range(30)]},
    {
        "oneOf": [
            {"properties": {f"p{i}{j}": {"pattern": "^a"} for j in range(20)}} for i in range(40)
        ]
    },
    chain(30, lambda after: {"allOf": [after, after]}),
    chain(900, lambda after: {"items": after}),
    {"type": "array", "minItems": 90_000, "maxItems": 100_000},
    {"type": "string", "minLength": 10**6, "maxLength": 10**9},
    {"type": "integer", "minimum": -(2**70), "maximum": 2**70},
    {"multipleOf": 1e-9},
]


@pytest.mark.parametrize("schema", HOSTILE, ids=range(len(HOSTILE)))
def test_what_looks_like_a_trap_becomes_a_mask_all_the_same(schema: Any) -> None:
    assert enforce(schema).mask


def test_limits_can_be_set() -> None:
    schema = {"enum": ["a", "b", "c"]}
    assert enforce(schema).exact
    with pytest.raises(SchemaError, match="at most 2"):
        enforce(schema, replace(DEFAULT_LIMITS, enum=2))
