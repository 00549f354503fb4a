"""What masks and verifier let through: all that is valid, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cierzo.grammar.schema import enforce, inline
from tests.support.masks import lets_through, takes

S: dict[str, Any] = {"type": "string"}
OPEN = {"type": "object", "properties": {"a": S, "b": S, "c": S}}


def case(name: str, schema: Any, good: list[Any], bad: list[Any]) -> Any:
    return pytest.param(schema, good, bad, id=name)


# Values are written in the order of the schema's properties, which is the order masks have.
CASES = [
    case("true", True, [1, "a", None, [{}]], []),
    case("not-required", {**OPEN, "not": {"required": ["a"]}}, [{}, {"b": "x"}], [{"a": "x"}, {"a": "x", "b": "y"}]),
    case("not-type", {"not": {"type": ["string", "object"]}}, [1, None, [1]], ["a", {}]),
    case("not-enum", {"type": "string", "not": {"enum": ["a", "bc"]}}, ["", "b", "ab", "bcd"], ["a", "bc"]),
    case("not-const-number", {"type": "integer", "not": {"const": 3}}, [2, 4, 33], [3]),
    case("not-not", {"not": {"not": {"minLength": 2}}}, ["ab", 1], ["a"]),
    case("not-pattern", {"type": "string", "not": {"pattern": "^a"}}, ["ba", ""], ["ab"]),
    case("not-all", {"not": {"allOf": [{"required": ["a"]}, {"required": ["b"]}]}, **OPEN}, [{"a": "1"}, {"b": "1"}, {}], [{"a": "1", "b": "2"}]),
    case("not-any", {"type": "integer", "not": {"anyOf": [{"minimum": 5}, {"maximum": 2}]}}, [3, 4], [2, 5]),
    case("not-items", {"type": "array", "not": {"items": {"type": "string"}}}, [[1], ["a", 1]], [[], ["a"]]),
    case("one-of-types", {"oneOf": [S, {"type": "null"}]}, ["a", None], [1]),
    case("one-of-refs", {"oneOf": [{"$ref": "#/$defs/s"}, {"type": "null"}], "$defs": {"s": S}}, ["a", None], [1]),
    case("one-of-required", {**OPEN, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, [{"a": "1"}, {"b": "1", "c": "2"}], [{}, {"a": "1", "b": "2"}]),
    case("one-of-overlap", {"oneOf": [{"type": "integer", "minimum": 2}, {"type": "integer", "maximum": 5}]}, [1, 6], [3]),
    case("one-of-tags", {"oneOf": [{"type": "object", "properties": {"t": {"const": "x"}, "v": S}, "required": ["t"]}, {"type": "object", "properties": {"t": {"enum": ["y", "z"]}}, "required": ["t"]}]}, [{"t": "x", "v": "1"}, {"t": "z"}], [{"t": "x", "v": 1}, {"t": "w"}]),
    case("any-of", {"anyOf": [S, {"type": "integer", "minimum": 3}]}, ["a", 3], [2, None]),
    case("all-of", {"allOf": [{"minLength": 2}, {"maxLength": 3}, S]}, ["ab", "abc"], ["a", "abcd", 1]),
    case("if-then-else", {"type": "object", "properties": {"k": {"enum": ["a", "b"]}, "n": {"type": ["integer", "string"]}}, "required": ["k", "n"], "if": {"properties": {"k": {"const": "a"}}}, "then": {"properties": {"n": {"type": "integer"}}}, "else": {"properties": {"n": {"type": "string"}}}}, [{"k": "a", "n": 1}, {"k": "b", "n": "x"}], [{"k": "a", "n": "x"}, {"k": "b", "n": 1}]),
    case("switch", {"type": "object", "properties": {"k": {"type": "string"}, "a": S, "b": S}, "required": ["k"], "allOf": [{"if": {"properties": {"k": {"const": "a"}}, "required": ["k"]}, "then": {"required": ["a"]}}, {"if": {"properties": {"k": {"const": "b"}}, "required": ["k"]}, "then": {"required": ["b"]}}]}, [{"k": "a", "a": "1"}, {"k": "b", "b": "1"}, {"k": "c"}], [{"k": "a"}, {"k": "b", "a": "1"}]),
    case("dependent-required", {**OPEN, "dependentRequired": {"a": ["b"]}}, [{}, {"b": "1"}, {"a": "1", "b": "1"}], [{"a": "1"}, {"a": "1", "c": "1"}]),
    case("dependent-schemas", {**OPEN, "dependentSchemas": {"a": {"properties": {"b": {"minLength": 2}}}}}, [{"b": "1"}, {"a": "1", "b": "12"}], [{"a": "1", "b": "1"}]),
    case("names-pattern", {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}}, [{}, {"ab": 1}], [{"A": 1}, {"a": 1, "B": 2}]),
    case("names-enum", {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "integer"}}, [{"a": 1}, {"a": 1, "b": 2}], [{"c": 1}, {"a": "x"}]),
    case("names-length", {"type": "object", "propertyNames": {"maxLength": 2}}, [{"ab": 1}], [{"abc": 1}]),
    case("patterns-overlap", {"type": "object", "patternProperties": {"^a": {"type": "integer"}, "b$": {"minimum": 3}}, "additionalProperties": False}, [{"ax": 1}, {"xb": 5}, {"ab": 4}], [{"ab": 1}, {"ab": "x"}, {"c": 1}]),
    case("min-properties", {**OPEN, "additionalProperties": False, "minProperties": 1}, [{"a": "1"}, {"b": "1", "c": "2"}], [{}]),
    case("min-2-properties", {**OPEN, "minProperties": 2}, [{"a": "1", "b": "1"}, {"a": "1", "x": 1}], [{}, {"a": "1"}]),
    case("max-properties", {**OPEN, "maxProperties": 1}, [{}, {"a": "1"}], [{"a": "1", "b": "1"}]),
    case("map-with-bounds", {"type": "object", "additionalProperties": S, "minProperties": 2, "maxProperties": 3}, [{"a": "1", "b": "1"}], [{"a": "1"}, {"a": "", "b": "", "c": "", "d": ""}]),
    case("unevaluated", {"allOf": [{"type": "object", "properties": {"a": S}}], "properties": {"b": S}, "unevaluatedProperties": False}, [{"b": "1"}, {"b": "1", "a": "1"}], [{"c": 1}]),
    case("unique", {"type": "array", "uniqueItems": True}, [[], [1, 2], [1, "1", True]], [[1, 1], [{"a": 1}, {"a": 1}], [1, 1.0]]),
    case("unique-enum", {"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True}, [["a", "b"], ["b"]], [["a", "a"], ["a", "b", "a"]]),
    case("contains", {"type": "array", "contains": {"type": "integer"}}, [[1], ["a", 1, "b"]], [[], ["a"]]),
    case("contains-count", {"type": "array", "contains": {"const": 1}, "minContains": 2, "maxContains": 2}, [[1, 1], [1, 1, 0]], [[1], [1, 1, 1]]),
    case("prefix-items", {"type": "array", "prefixItems": [S, {"type": "integer"}], "items": False}, [[], ["a"], ["a", 1]], [[1], ["a", 1, 2]]),
    case("old-items", {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [S], "additionalItems": {"type": "null"}}, [["a"], ["a", None]], [[1], ["a", 1]]),
    case("old-bounds", {"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer", "minimum": 1, "exclusiveMinimum": True}, [2], [1]),
    case("old-dependencies", {"$schema": "http://json-schema.org/draft-07/schema#", **OPEN, "dependencies": {"a": ["b"], "c": {"required": ["b"]}}}, [{"b": "1"}, {"a": "1", "b": "1"}], [{"a": "1"}, {"c": "1"}]),
    case("old-ref-siblings", {"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"a": {"$ref": "#/definitions/s", "maxLength": 1}}, "type": "object", "definitions": {"s": S}}, [{"a": "long"}], [{"a": 1}]),
    case("ref-siblings", {"$ref": "#/$defs/s", "maxLength": 1, "$defs": {"s": S}}, ["a"], ["ab", 1]),
    case("anchor-and-id", {"type": "object", "properties": {"a": {"$ref": "#s"}, "b": {"$ref": "item.json"}}, "$id": "http://x.org/root.json", "$defs": {"s": {"$anchor": "s", **S}, "i": {"$id": "item.json", "type": "integer"}}}, [{"a": "1", "b": 1}], [{"a": 1}, {"b": "x"}]),
    case("recursion", {"type": "object", "properties": {"v": {"type": "integer"}, "n": {"$ref": "#"}}, "required": ["v"], "additionalProperties": False}, [{"v": 1, "n": {"v": 2}}], [{"v": 1, "n": {}}, {"n": {"v": 1}}]),
    case("recursion-beside", {"$defs": {"t": {"type": "object", "properties": {"k": {"$ref": "#/$defs/t", "required": ["v"]}, "v": S}}}, "$ref": "#/$defs/t", "required": ["v"]}, [{"k": {"v": "1"}, "v": "2"}, {"k": {"k": {"v": "3"}, "v": "1"}, "v": "2"}], [{"k": {}, "v": "1"}, {"k": {"v": "2"}}]),
    case("enum-filtered", {"type": "string", "enum": ["a", "abc", 1], "maxLength": 2}, ["a"], ["abc", 1]),
    case("lookahead", {"type": "string", "pattern": "^(?=.*[0-9])[a-z0-9]+$"}, ["a1"], ["ab"]),
    case("word-boundary", {"type": "string", "pattern": r"\bcat\b"}, ["a cat!"], ["concat"]),
    case("date", {"type": "string", "format": "date"}, ["2024-02-29"], ["2023-02-29", "2024-13-01", "x"]),
    case("uri-reference", {"type": "string", "format": "uri-reference"}, ["/a/b?c#d", "http://x.org/é".replace("é", "e")], ["a b", "\\\\x"]),
    case("regex-format", {"type": "string", "format": "regex"}, ["^a+$"], ["(a"]),
    case("unknown-format", {"type": "string", "format": "int32"}, ["anything"], [1]),
    case("impossible-option", {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 2}, "b": S}}, [{"b": "1"}], [{"a": 2}]),
    case("endless-option", {"$defs": {"x": {"type": "object", "properties": {"x": {"$ref": "#/$defs/x"}}, "required": ["x"]}}, "type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}}, [{}], [{"a": {}}]),
    case("impossible-definition", {"$defs": {"x": {"type": "object", "enum": ["a"]}}, "type": "object", "properties": {"a": {"$ref": "#/$defs/x"}, "b": S}}, [{"b": "1"}], [{"a": "a"}]),
    case("multiple-of", {"type": "number", "multipleOf": 0.5}, [1.5, 2], [1.3]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "good", "bad"), CASES)
def test_what_is_valid_comes_through_and_nothing_else(
    schema: Any, good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        assert lets_through(schema, value), value
    for value in bad:
        assert not lets_through(schema, value), value


EXACT = ["one-of-types", "one-of-refs", "one-of-required", "not-required", "not-enum", "one-of-tags",
         "dependent-required", "names-pattern", "names-enum", "switch", "if-then-else", "recursion",
         "min-properties", "lookahead", "date", "enum-filtered", "old-bounds", "ref-siblings"]  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_these_need_no_check(name: str) -> None:
    schema = next(param.values[0] for param in CASES if param.id == name)
    assert enforce(schema).exact


@pytest.mark.parametrize(
    "name",
    ["unique", "contains", "regex-format", "word-boundary", "patterns-overlap", "min-2-properties"],
)
def test_these_do(name: str) -> None:
    schema = next(param.values[0] for param in CASES if param.id == name)
    assert not enforce(schema).exact


def test_enforcing_is_pure_and_repeatable() -> None:
    schema: Any = {
        "oneOf": [{"$ref": "#/$defs/a"}, {"type": "null"}],
        "$defs": {"a": {"not": {"type": "string"}}},
    }
    before = json.dumps(schema)
    assert inline(enforce(schema).mask) == inline(enforce(schema).mask)
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
