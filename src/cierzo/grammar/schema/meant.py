"""Schemas as they are meant: what JSON Schema refuses but can mean one thing only is that thing.

Tools come from many languages and older specifications: `type: "STRING"`, `required: true` inside a
property, `null` for what is not said. A schema that JSON Schema takes is never changed; what
makes no sense is left for the strict reader to name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from cierzo.grammar.schema.dialect import (
    COUNTS,
    DEFINITIONS,
    LISTS,
    MAPS,
    NUMBERS,
    SCHEMAS,
    TYPES,
    named_draft,
    subschemas,
)

_OTHER_NAMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("str", "text", "char", "date", "time", "datetime", "date-time"), "string"),
    **dict.fromkeys(("uuid", "uri", "url", "email", "bytes", "binary", "file"), "string"),
    **dict.fromkeys(("int", "int32", "int64", "uint", "long", "short"), "integer"),
    **dict.fromkeys(("float", "float32", "float64", "double", "decimal", "num"), "number"),
    **dict.fromkeys(("bool",), "boolean"),
    **dict.fromkeys(("list", "tuple", "set", "sequence"), "array"),
    **dict.fromkeys(("dict", "map", "mapping", "record", "struct", "json"), "object"),
    **dict.fromkeys(("none", "nil", "undefined"), "null"),
}
_ANY = frozenset({"any", "unknown", "mixed", "enum", "type_unspecified", ""})
_TRUTHS = {"true": True, "false": False}
_CONSTANTS = frozenset({"const", "default", "example", "examples"})  # where null is a value
_ABSENT: Final = object()


def meant(schema: Any, *, arguments: bool = False) -> Any:
    """The schema as the strict reader takes it. Nothing is changed in place.

    `arguments`: of a tool. There an empty enumeration is one that was never filled; elsewhere it
    is JSON Schema that no value fits, and stays.
    """
    return _Reader(schema, arguments).run()


@dataclass
class _Reader:
    root: Any
    arguments: bool

    def run(self) -> Any:
        read = self._node(self.root)
        _mend_references(read)
        return read

    @cached_property
    def _named(self) -> int | None:
        return named_draft(self.root)

    def _node(self, value: Any) -> Any:
        """A schema. A type's name alone, or a list of them, stands for a schema of that type."""
        if value is None or value == []:  # PHP writes an empty object as []
            return {}
        if isinstance(value, str):
            return _TRUTHS.get(value.lower(), _of_types(value))
        if isinstance(value, list):
            return _of_types(value)
        if not isinstance(value, dict):
            return value
        read: dict[str, Any] = {}
        for key, part in value.items():
            found = self._keyword(key, part, value)
            if found is not _ABSENT:
                read[key] = found
        _take_up_required(value, read)
        self._as_its_draft_says(read)
        return read

    def _keyword(self, key: str, value: Any, node: Mapping[str, Any]) -> Any:
        if value is None and key not in _CONSTANTS:
            return {} if key == "properties" else _ABSENT
        if key in SCHEMAS or key in LISTS:
            return self._below(key, value, node)
        if key in MAPS or key in DEFINITIONS:
            return self._map(key, value)
        if key in COUNTS or key in NUMBERS:
            return _number(key, value)
        if key == "enum":
            return self._enum(value)
        reader = _READERS.get(key)
        return value if reader is None else reader(value, node)

    def _below(self, key: str, value: Any, node: Mapping[str, Any]) -> Any:
        if value == [] and not (key == "items" and "additionalItems" in node):
            return _ABSENT
        if key in LISTS and isinstance(value, list):
            return [self._node(part) if part is not None else part for part in value]
        return self._node(value) if key in SCHEMAS else [self._node(value)]

    def _map(self, key: str, value: Any) -> Any:
        if value == []:
            return {} if key == "properties" else _ABSENT
        if not isinstance(value, dict):
            return value
        return {
            name: part if key == "dependencies" and isinstance(part, list) else self._node(part)
            for name, part in value.items()
        }

    def _enum(self, value: Any) -> Any:
        if value == [] and self.arguments:
            return _ABSENT
        return [value] if isinstance(value, str | int | float) else value

    def _as_its_draft_says(self, read: dict[str, Any]) -> None:
        """Older forms of keywords in a schema that names a newer draft, as that draft has them."""
        draft = self._named
        if draft is None:
            return
        if draft >= 2020 and isinstance(read.get("items"), list):
            read["prefixItems"] = read.pop("items")
            if "additionalItems" in read:
                read["items"] = read.pop("additionalItems")
        for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            is_older = draft > 4 and isinstance(read.get(exclusive), bool)
            if is_older and read.pop(exclusive) and bound in read:
                read[exclusive] = read.pop(bound)


def _types(value: Any) -> str | list[str] | None:
    """What a `type` says: a name, names, none of them for any; None where it says nothing known."""
    if isinstance(value, str):
        names = re.split(r"\s*\|\s*", value.strip())
    elif isinstance(value, list) and all(isinstance(name, str) for name in value):
        names = value
    else:
        return None
    found: list[str] = []
    for name in names:
        lower = name.strip().lower()
        if lower in _ANY:
            return []
        standard = lower if lower in TYPES else _OTHER_NAMES.get(lower)
        if standard is None:
            return None
        found.append(standard)
    return found[0] if len(found) == 1 and isinstance(value, str) else found


def _of_types(value: Any) -> Any:
    types = _types(value)
    return value if types is None else {"type": types} if types else {}


def _type(value: Any, _: Mapping[str, Any]) -> Any:
    types = _types(value)
    return value if types is None else types or _ABSENT


def _number(key: str, value: Any) -> Any:
    if isinstance(value, str):
        if not value.strip():
            return _ABSENT
        try:
            number = json.loads(value)
        except (ValueError, RecursionError):
            return value
        if isinstance(number, int | float) and math.isfinite(number):
            value = number
    if key in COUNTS and key.startswith("min") and _is_number(value) and value < 0:
        return _ABSENT  # every length is more
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _required(value: Any, node: Mapping[str, Any]) -> Any:
    """The names. Inside a property, true and false say whether the object around needs it."""
    if isinstance(value, list):
        return [name for name in value if name is not None]
    if isinstance(value, bool) or value == {}:  # Lua writes an empty list as {}
        return _ABSENT
    if isinstance(value, str):
        properties = node.get("properties")
        if isinstance(properties, dict) and value in properties:
            return [value]
        return _ABSENT if value.lower() in ("", *_TRUTHS) else value
    return value


def _take_up_required(node: Mapping[str, Any], read: dict[str, Any]) -> None:
    """Names the properties that say of themselves that they are required."""
    properties = node.get("properties")
    if not isinstance(properties, dict):
        return
    needed = [
        name
        for name, part in properties.items()
        if isinstance(part, dict) and str(part.get("required")).lower() == "true"
    ]
    listed = read.get("required", [])
    if needed and isinstance(listed, list) and all(isinstance(name, str) for name in listed):
        read["required"] = list(dict.fromkeys([*listed, *needed]))


def _truth(value: Any, _: Mapping[str, Any]) -> Any:
    return _TRUTHS.get(value.lower(), value) if isinstance(value, str) else value


def _text(value: Any, _: Mapping[str, Any]) -> Any:
    return value if isinstance(value, str) else _ABSENT


_READERS: Final[Mapping[str, Callable[[Any, Mapping[str, Any]], Any]]] = {
    "type": _type,
    "required": _required,
    "uniqueItems": _truth,
    "format": _text,
    "$schema": _text,
    "$id": _text,
    "id": _text,
    "$anchor": _text,
    "$dynamicAnchor": _text,
}


def _references(read: Any) -> list[dict[str, Any]]:
    """The parts with a reference to a place, or to a bare name."""
    return [
        node
        for node, _ in subschemas(read)
        if isinstance(node, dict) and isinstance(node.get("$ref"), str)
    ]


def _mend_references(read: Any) -> None:
    """Points references that lead nowhere to the one definition of that name, if there is one.

    It may stand under the other of `$defs` and `definitions`, or further in. Where parts have names
    of their own, references are relative to those, and stay.
    """
    broken = [node for node in _references(read) if _leads_nowhere(node["$ref"], read)]
    if not broken:
        return
    places: dict[str, list[str]] = {}
    for node, path in subschemas(read):
        if path and isinstance(node, dict) and ("$id" in node or "id" in node):
            return
        if len(path) > 1 and path[-2] in DEFINITIONS:
            places.setdefault(str(path[-1]), []).append(_pointer(path))
    for node in broken:
        found = places.get(node["$ref"].rpartition("/")[2], [])
        if len(found) == 1:
            node["$ref"] = found[0]


def _leads_nowhere(reference: str, root: Any) -> bool:
    """Whether it is a bare name, or the way to a place that is not there."""
    if not reference.startswith("#/"):
        return re.fullmatch(r"[\w.-]+", reference) is not None
    node = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, dict) or name not in node:
            return not isinstance(node, list)
        node = node[name]
    return False


def _pointer(path: Iterable[str | int]) -> str:
    return "#/" + "/".join(str(p).replace("~", "~0").replace("/", "~1") for p in path)
