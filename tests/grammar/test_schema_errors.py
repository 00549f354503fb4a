"""Schemas that cannot be served are refused, and the part is named."""

from __future__ import annotations

from typing import Any

import pytest

from cierzo.grammar.schema import SchemaError, SchemaLimits, enforce


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


REFUSED = [
    ("properties.a", {"type": "object", "properties": {"a": {"type": "integer", "minimum": 5, "maximum": 3}}, "required": ["a"]}),
    ("properties.a", {"type": "object", "properties": {"a": False}, "required": ["a"]}),
    ("properties.a.properties.b", {"type": "object", "required": ["a"], "properties": {"a": {"type": "object", "required": ["b"], "properties": {"b": {"type": "string", "minLength": 3, "maxLength": 2}}}}}),
    ("", False),
    ("", {"type": "string", "const": 1}),
    ("properties.a", {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}),
    ("$defs.a", {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}}),
    ("", {"not": {"$ref": "#"}}),
    ("properties.z.$ref", {"properties": {"z": {"$ref": "http://example.com/s.json"}}}),
    ("properties.z.$ref", {"properties": {"z": {"$ref": "#/$defs/none"}}}),
    ("properties.q.pattern", {"properties": {"q": {"type": "string", "pattern": "(a"}}}),
    ("properties.q.pattern", {"properties": {"q": {"type": "string", "pattern": r"(a)\1"}}}),
    ("patternProperties.[", {"patternProperties": {"[": True}}),
    ("items.type", {"items": {"type": "strin"}}),
    ("properties.a.minLength", {"properties": {"a": {"minLength": "x"}}}),
    ("properties.a", {"properties": {"a": 3}}),
    ("enum", {"enum": []}),
    ("items", {"$schema": "https://json-schema.org/draft/2020-12/schema", "items": [{}]}),
    ("enum", {"enum": [str(number) for number in range(100_000)]}),
    ("description", {"description": "x" * 10_000_000}),
    ("properties", {"properties": {f"p{number}": {} for number in range(3_000)}}),
    ("pattern", {"pattern": "a" * 5_000}),
    ("properties.a.properties.a.properties.a", nested(3_000)),
    ("maxProperties", {"type": "object", "required": ["a", "b"], "maxProperties": 1}),
    ("minProperties", {"type": "object", "properties": {"a": {}}, "additionalProperties": False, "minProperties": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "schema"), REFUSED)
def test_it_is_refused_and_the_part_is_named(path: str, schema: Any) -> None:
    with pytest.raises(SchemaError) as caught:
        enforce(schema)
    assert caught.value.path == path
    assert "\n" not in str(caught.value)
    assert 0 < len(str(caught.value)) <= 300


HOSTILE = [
    {"type": "string", "pattern": "^(a+)+$"},
    {"pattern": "^((a{1,100}){1,100}){1,100}$"},
    {"patternProperties": {"^(a|a)*$": {"type": "string"}, "^(a|b|ab)*c$": {"type": "integer"}}},
    {"allOf": [{"anyOf": [{"properties": {f"a{i}": {"const": j}}, "required": [f"a{i}"]} for j in range(5)]} for i in range(30)]},
    {"oneOf": [{"properties": {f"p{i}{j}": {"type": "string", "pattern": "^a+$"} for j in range(20)}} for i in range(40)]},
    {"$ref": "#/$defs/d0", "$defs": {**{f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(30)}, "d30": {}}},
    {"$ref": "#/$defs/d0", "$defs": {**{f"d{i}": {"items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(900)}, "d900": {}}},
    {"type": "array", "minItems": 90_000, "maxItems": 100_000},
    {"type": "string", "minLength": 10**6, "maxLength": 10**9},
    {"type": "integer", "minimum": -(2**70), "maximum": 2**70},
    {"multipleOf": 1e-9},
]  # fmt: skip


@pytest.mark.parametrize("schema", HOSTILE, ids=range(len(HOSTILE)))
def test_what_looks_like_a_trap_becomes_a_mask_all_the_same(schema: Any) -> None:
    assert enforce(schema).mask


def test_limits_can_be_set() -> None:
    schema = {"enum": ["a", "b", "c"]}
    assert enforce(schema).exact
    with pytest.raises(SchemaError, match="at most 2"):
        enforce(schema, SchemaLimits(enum=2))
