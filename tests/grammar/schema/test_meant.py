"""Schemas as clients write them: what can mean one thing only is read so, valid ones are left."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from cierzo.grammar.schema import SchemaError, enforce
from cierzo.grammar.schema.dialect import subschemas
from cierzo.grammar.schema.meant import meant
from tests.support.masks import lets_through

LINES = (Path(__file__).parent / "schemas.jsonl").read_text().splitlines()
VALID = [case["schema"] for case in map(json.loads, LINES)]
TEXT = {"type": "string"}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
DRAFT_2020 = "https://json-schema.org/draft/2020-12/schema"


def takes(a: Any, **more: Any) -> dict[str, Any]:
    """An object with one property."""
    return {"type": "object", "properties": {"a": a}, **more}


NAMES = [
    ("STRING", "string"),
    ("Integer", "integer"),
    (" number ", "number"),
    ("str", "string"),
    ("int", "integer"),
    ("int64", "integer"),
    ("float", "number"),
    ("double", "number"),
    ("bool", "boolean"),
    ("list", "array"),
    ("dict", "object"),
    ("None", "null"),
    ("date", "string"),
    ("string | null", ["string", "null"]),
    (["STRING", "null"], ["string", "null"]),
]


@pytest.mark.parametrize(("given", "read"), NAMES, ids=[str(given) for given, _ in NAMES])
def test_types_by_other_names(given: Any, read: Any) -> None:
    assert meant(takes({"type": given})) == takes({"type": read})
    if isinstance(given, str):  # a type's name alone is a schema of that type
        assert meant(takes(given)) == takes({"type": read})
        assert meant({"items": given}) == {"items": {"type": read}}


ANYTHING: list[Any] = [
    *({"type": name} for name in ("any", "Any", "unknown", "TYPE_UNSPECIFIED", "", None)),
    {"type": []},
    {"type": ["string", "any"]},
    *("any", None, [], {}),
    {"enum": []},
    {"enum": None},
    {"pattern": None, "minLength": None, "format": None, "description": None, "$ref": None},
    {"items": None, "anyOf": None, "oneOf": [], "allOf": []},
    {"additionalProperties": None, "required": None, "patternProperties": []},
    {"required": True},
    {"required": False},
    {"required": "true"},
    {"minLength": "", "minimum": " "},
    {"minItems": -1},
    {"format": 7, "$schema": 1, "$id": False},
    {"not": None, "if": None, "then": [], "contains": []},
]


@pytest.mark.parametrize("given", ANYTHING, ids=json.dumps)
def test_nothing_said_in_any_form(given: Any) -> None:
    read = meant(takes(given), arguments=True)
    assert read["properties"] == {"a": {}}


READ = [
    # What the object around needs, said by the property itself (draft 3).
    (
        takes({"type": "string", "required": True}),
        takes(TEXT, required=["a"]),
    ),
    (
        {"properties": {"a": {"required": "true"}, "b": {}, "c": {"required": False}}}
        | {"required": ["b", None]},
        {"properties": {"a": {}, "b": {}, "c": {}}, "required": ["b", "a"]},
    ),
    (takes(TEXT, required="a"), takes(TEXT, required=["a"])),
    (takes(TEXT, required=None), takes(TEXT)),
    (takes(TEXT, required=True), takes(TEXT)),
    ({"type": "object", "properties": None}, {"type": "object", "properties": {}}),
    ({"type": "object", "properties": []}, {"type": "object", "properties": {}}),
    (takes(TEXT, additionalProperties="false"), takes(TEXT, additionalProperties=False)),
    (takes(TEXT, additionalProperties=None), takes(TEXT)),
    (
        {"minimum": "1", "maxLength": "20", "multipleOf": "0.5"},
        {"minimum": 1, "maxLength": 20, "multipleOf": 0.5},
    ),
    ({"uniqueItems": "true"}, {"uniqueItems": True}),
    ({"enum": "a"}, {"enum": ["a"]}),
    ({"anyOf": {"type": "STRING"}}, {"anyOf": [TEXT]}),
    ({"anyOf": ["string", "null"]}, {"anyOf": [TEXT, {"type": "null"}]}),
    # Older forms of keywords under the name of a newer draft.
    (
        {"$schema": DRAFT_7, "exclusiveMinimum": True, "minimum": 1, "exclusiveMaximum": False},
        {"$schema": DRAFT_7, "exclusiveMinimum": 1},
    ),
    (
        {"$schema": DRAFT_2020, "items": ["string"], "additionalItems": False},
        {"$schema": DRAFT_2020, "prefixItems": [TEXT], "items": False},
    ),
    # References by the other word, by a bare name, to what stands further in.
    (
        {"$ref": "#/definitions/A", "$defs": {"A": TEXT}},
        {"$ref": "#/$defs/A", "$defs": {"A": TEXT}},
    ),
    (
        {"items": {"$ref": "#/components/schemas/A"}, "definitions": {"A": "string"}},
        {"items": {"$ref": "#/definitions/A"}, "definitions": {"A": TEXT}},
    ),
    ({"$ref": "A", "$defs": {"A": TEXT}}, {"$ref": "#/$defs/A", "$defs": {"A": TEXT}}),
    (
        takes({"$ref": "#/$defs/A", "$defs": {"A": TEXT}}),
        takes({"$ref": "#/properties/a/$defs/A", "$defs": {"A": TEXT}}),
    ),
]


@pytest.mark.parametrize(("given", "read"), READ, ids=[json.dumps(given) for given, _ in READ])
def test_what_is_meant(given: Any, read: Any) -> None:
    before = json.dumps(given)
    assert meant(given) == read
    assert json.dumps(given) == before  # nothing changes in place
    assert meant(read) == read
    enforce(read)


def test_properties_may_have_the_names_of_keywords() -> None:
    names = {name: {"type": "string"} for name in ("required", "type", "enum", "items", "$ref")}
    schema = {"type": "object", "properties": names, "required": ["required"]}
    assert meant(schema) == schema
    inner = {"type": "object", "properties": {"required": {"type": "boolean", "default": True}}}
    assert meant(inner) == inner


def test_values_are_left_as_they_are() -> None:
    schema = takes({"const": None}, default=None, examples=[None, "STRING"], enum=[None, {"a": []}])
    assert meant(schema) == schema
    assert meant({"default": {"type": "STRING", "required": None}})["default"]["required"] is None


def test_an_empty_enumeration_is_refused_where_the_schema_is_the_wish() -> None:
    assert meant({"enum": []}) == {"enum": []}
    with pytest.raises(SchemaError, match="with a value at least"):
        enforce(meant({"enum": []}))


@pytest.mark.parametrize("schema", VALID, ids=lambda schema: json.dumps(schema)[:60])
def test_what_is_valid_stays(schema: Any) -> None:
    assert meant(schema, arguments=True) == schema
    assert json.dumps(meant(schema)) == json.dumps(schema)  # in its order: prompts show it


def test_what_makes_no_sense_is_left_for_the_strict_reader_to_name() -> None:
    for nonsense in (
        *({"type": "nothing"}, {"type": 7}, {"type": {"type": "string"}}, {"properties": "a"}),
        *({"minimum": "x"}, {"minimum": "NaN"}, {"maximum": "1e999"}, {"pattern": "(a"}),
        *({"required": {"a": True}}, {"anyOf": [None]}, {"items": 3}, {"$ref": "#/nowhere"}),
        *({"$ref": "https://example.com/a.json"}, {"contains": ["x"]}, {"maxItems": -1}),
    ):
        assert meant(takes(nonsense)) == takes(nonsense)
        with pytest.raises(SchemaError, match=r"\S"):
            enforce(takes(nonsense))


def test_references_between_parts_with_names_of_their_own_are_left() -> None:
    schema = {
        "items": {"$ref": "node"},
        "$defs": {"node": {"type": "string"}, "b": {"$id": "node", "type": "integer"}},
    }
    assert meant(schema) == schema
    enforce(schema)
    assert lets_through(schema, [1])
    assert not lets_through(schema, ["a"])


def test_two_definitions_of_one_name_are_not_guessed_between() -> None:
    schema = {
        "items": {"$ref": "A"},
        "properties": {"a": {"$defs": {"A": TEXT}}, "b": {"$defs": {"A": {"type": "null"}}}},
    }
    assert meant(schema) == schema


JUNK: list[Any] = [
    *(None, [], {}, "", "x", "true", True, False, -1, 0, 1.5, "3", 10**30, "(a", "#", "STRING"),
    *([None], ["a", 1], {"a": None}, {"$ref": "#/nope"}, [[]], "any"),
]
KEYWORDS = (  # noqa: SIM905
    "type required properties enum items additionalProperties minimum maxLength pattern anyOf "
    "allOf oneOf $ref $defs definitions not if const default format exclusiveMinimum multipleOf "
    "$schema $id id uniqueItems dependencies dependentRequired contains propertyNames prefixItems "
    "minItems patternProperties $anchor $dynamicRef $recursiveRef dependentSchemas nullable title "
    "unevaluatedProperties minContains additionalItems $recursiveAnchor $dynamicAnchor"
).split()


def junk(seed: int) -> dict[str, Any]:
    """A valid schema in which a few keywords have any value at all."""
    draw = random.Random(seed)
    schemas = [schema for schema in VALID if isinstance(schema, dict)]
    schema: dict[str, Any] = json.loads(json.dumps(draw.choice(schemas)))
    for _ in range(draw.choice((1, 1, 2, 3))):
        places = [node for node, _ in subschemas(schema) if isinstance(node, dict)]
        draw.choice(places)[draw.choice(KEYWORDS)] = draw.choice(JUNK)
    return schema


def refusal_of(schema: Any) -> SchemaError | None:
    try:
        enforce(schema)
    except SchemaError as error:
        return error
    return None


def test_any_value_anywhere_is_read_or_refused_by_name() -> None:
    """Never an error of another kind; and what is read needs no second reading."""
    read = of_the_whole = 0
    for seed in range(600):
        schema = meant(junk(seed), arguments=True)
        assert meant(schema, arguments=True) == schema, seed
        refusal = refusal_of(schema)
        if refusal is None:
            read += 1
        elif refusal.path == ():  # parts that contradict each other, circles
            of_the_whole += 1
        else:
            assert refusal.path[0] in schema, (seed, str(refusal), refusal.path)
    assert 60 < read < 540, read
    assert of_the_whole < 60, of_the_whole
