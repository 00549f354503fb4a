"""The drafts of JSON Schema: which one a schema is written in, which keywords it has, and whether
they are used as they must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from cierzo.grammar.schema.errors import SchemaError

Path: TypeAlias = tuple[str | int, ...]

DRAFTS: Mapping[str, int] = {
    "json-schema.org/draft-03/schema": 4,
    "json-schema.org/draft-04/schema": 4,
    "json-schema.org/draft-06/schema": 6,
    "json-schema.org/draft-07/schema": 7,
    "json-schema.org/draft/2019-09/schema": 2019,
    "json-schema.org/draft/2020-12/schema": 2020,
}
TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})

_SINCE: Mapping[str, tuple[int, int]] = {  # the first and the last draft that has the keyword
    "const": (6, 2020),
    "contains": (6, 2020),
    "propertyNames": (6, 2020),
    "if": (7, 2020),
    "then": (7, 2020),
    "else": (7, 2020),
    "dependencies": (4, 7),
    "additionalItems": (4, 2019),
    "dependentRequired": (2019, 2020),
    "dependentSchemas": (2019, 2020),
    "unevaluatedProperties": (2019, 2020),
    "unevaluatedItems": (2019, 2020),
    "minContains": (2019, 2020),
    "maxContains": (2019, 2020),
    "$recursiveRef": (2019, 2019),
    "$dynamicRef": (2020, 2020),
    "prefixItems": (2020, 2020),
}
SCHEMAS = [
    "additionalProperties",
    "additionalItems",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedProperties",
    "unevaluatedItems",
    "items",
]
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
MAPS = ("properties", "patternProperties", "dependentSchemas", "dependencies")
DEFINITIONS = ("$defs", "definitions")
COUNTS = [
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
]
NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_TEXTS = (
    *("pattern", "format", "$ref", "$dynamicRef", "$recursiveRef"),
    *("$id", "$anchor", "$dynamicAnchor"),
)


def named_draft(schema: Any) -> int | None:
    """The draft that `$schema` names, if it is a known one."""
    named = schema.get("$schema") if isinstance(schema, dict) else None
    return DRAFTS.get(named.split("://")[-1].rstrip("#")) if isinstance(named, str) else None


def draft_of(schema: Any) -> int:
    """The draft: what `$schema` says, else the latest one in which the schema makes sense."""
    named = named_draft(schema)
    if named is not None:
        return named
    draft = 2020
    for node, _ in subschemas(schema):
        if not isinstance(node, dict):
            continue
        bounds = (node.get("exclusiveMinimum"), node.get("exclusiveMaximum"))
        if any(isinstance(bound, bool) for bound in bounds):
            return 4
        if isinstance(node.get("items"), list):
            draft = 7
    return draft


def keywords(node: Mapping[str, Any], draft: int) -> dict[str, Any]:
    """What of a schema object counts in this draft."""
    if draft < 2019 and isinstance(node.get("$ref"), str):
        return {"$ref": node["$ref"]}
    return {
        key: value
        for key, value in node.items()
        if key not in _SINCE or _SINCE[key][0] <= draft <= _SINCE[key][1]
    }


def children(node: Mapping[str, Any]) -> Iterator[tuple[Any, Path]]:
    """Yields the schemas right below a schema, with the way to each."""
    for key in SCHEMAS:
        if key in node and not isinstance(node[key], list):
            yield node[key], (key,)
    for key in LISTS:
        if isinstance(node.get(key), list):
            yield from ((child, (key, at)) for at, child in enumerate(node[key]))
    for key in (*MAPS, *DEFINITIONS):
        if isinstance(node.get(key), dict):
            for name, child in node[key].items():
                if not (key == "dependencies" and isinstance(child, list)):
                    yield child, (key, name)


def subschemas(schema: Any) -> Iterator[tuple[Any, Path]]:
    """Yields the schema and all below it."""
    stack: list[tuple[Any, Path]] = [(schema, ())]
    while stack:
        node, path = stack.pop()
        yield node, path
        if isinstance(node, dict):
            stack.extend((child, (*path, *way)) for child, way in children(node))


def check_form(schema: Any, draft: int) -> None:
    """Raises SchemaError where a keyword's value is not what it must be."""
    for node, path in subschemas(schema):
        if isinstance(node, bool):
            continue
        if not isinstance(node, dict):
            raise SchemaError("a schema must be an object, true or false", path)
        for key, value in keywords(node, draft).items():
            problem = _problem(key, value, draft)
            if problem:
                raise SchemaError(problem, (*path, key))


def _problem(key: str, value: Any, draft: int) -> str | None:  # noqa: PLR0911, PLR0912
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if key in COUNTS:
        if not number or value < 0 or value != int(value):
            return "must be a whole number, 0 or more"
    elif key in NUMBERS:
        exclusive = key.startswith("exclusive") and draft == 4
        if not number and not (exclusive and isinstance(value, bool)):
            return "must be a number"
        if key == "multipleOf" and value <= 0:
            return "must be more than 0"
    elif key in _TEXTS or (key == "id" and draft == 4):
        if not isinstance(value, str):
            return "must be a string"
    elif key in ("allOf", "anyOf", "oneOf", "prefixItems"):
        if not isinstance(value, list) or (not value and key != "prefixItems"):
            return "must be an array of schemas"
    elif key in (*MAPS, *DEFINITIONS):
        if not isinstance(value, dict):
            return "must be an object"
        if key == "dependencies":
            for name, needed in value.items():
                if isinstance(needed, list) and not _names(needed):
                    return f"{name!r} must be an array of strings or a schema"
    elif key == "dependentRequired":
        if not isinstance(value, dict) or not all(_names(names) for names in value.values()):
            return "must be an object of arrays of strings"
    elif key == "required":
        if not _names(value) and not (draft == 4 and isinstance(value, bool)):
            return "must be an array of strings"
    elif key == "enum":
        if not isinstance(value, list) or not value:
            return "must be an array with a value at least"
    elif key == "type":
        types = value if isinstance(value, list) else [value]
        if not types or not all(isinstance(name, str) for name in types):
            return "must be a type's name or an array of them"
        unknown = [name for name in types if name not in TYPES]
        if unknown:
            return f"{unknown[0]!r} is not a type; the types are {', '.join(sorted(TYPES))}"
    elif key in SCHEMAS and key != "items" and isinstance(value, list):
        return "must be a schema"
    elif key == "items" and isinstance(value, list) and draft == 2020:
        return "must be a schema; the schemas of the first items are `prefixItems`"
    return None


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
