"""Masks: the JSON schemas that are given to llguidance, and what can be told from them.

Only keywords that llguidance enforces, and no negation: leaving out a part allows more, never less.
References are all of the form `#/$defs/<name>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

Mask: TypeAlias = bool | dict[str, Any]

MOST_VISITS = 3_000  # of parts, to find how large a mask is
MOST_COMPARISONS = 20_000  # of two masks in a schema: a quarter of a second
ALL_TYPES = ("null", "boolean", "number", "string", "array", "object")


def all_of(masks: Iterable[Mask]) -> Mask:
    """The mask of what fits all; what comes first decides the order of properties."""
    parts: list[dict[str, Any]] = []
    for mask in masks:
        if mask is False:
            return False
        if mask is True or mask == {}:
            continue
        assert isinstance(mask, dict)
        parts.extend(mask["allOf"] if set(mask) == {"allOf"} else [mask])
    parts = _distinct(parts)
    if not parts:
        return True
    return parts[0] if len(parts) == 1 else {"allOf": parts}


def any_of(masks: Iterable[Mask]) -> Mask:
    """The mask of what fits one at least."""
    parts: list[dict[str, Any]] = []
    for mask in masks:
        if mask is True or mask == {}:
            return True
        if mask is False:
            continue
        assert isinstance(mask, dict)
        parts.extend(mask["anyOf"] if set(mask) == {"anyOf"} else [mask])
    parts = _distinct(parts)
    if not parts:
        return False
    return parts[0] if len(parts) == 1 else {"anyOf": parts}


def _distinct(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each of them once. They are looked up: thousands may stand side by side."""
    if len(parts) < 2:
        return parts
    by_text = {json.dumps(part, sort_keys=True): part for part in reversed(parts)}
    return list(by_text.values())[::-1]


def inner(node: dict[str, Any]) -> list[Any]:
    """What is in a part of a mask, without constants: those may look like anything."""
    return [v for key, v in node.items() if key != "enum" or not isinstance(v, list)]


def values_of(part: dict[str, Any]) -> list[Mask]:
    """The masks for the parts of a value."""
    masks = [part[key] for key in ("items", "additionalProperties") if key in part]
    for key in ("properties", "patternProperties"):
        masks.extend(part.get(key, {}).values())
    return [*masks, *part.get("prefixItems", ())]


def parts_of(part: dict[str, Any]) -> list[Mask]:
    """The masks right below one, for the same value and for its parts."""
    return [*values_of(part), *part.get("allOf", ()), *part.get("anyOf", ())]


class Known:
    """What can be told of masks, with the definitions they refer to (None: not yet made)."""

    def __init__(self, definitions: Mapping[str, Mask | None]) -> None:
        self._definitions = definitions
        self._comparisons = MOST_COMPARISONS

    def body(self, mask: Mask) -> Mask:
        for _ in range(8):
            if not isinstance(mask, dict) or set(mask) != {"$ref"}:
                return mask
            found = self._definitions.get(mask["$ref"].rpartition("/")[2])
            mask = True if found is None else found
        return True

    def types(self, mask: Mask, depth: int = 0) -> frozenset[str]:
        """The types that fitting values can have (perhaps more); an integer is a number."""
        mask = self.body(mask)
        if mask is False:
            return frozenset()
        if mask is True or depth > 8:
            return frozenset(ALL_TYPES)
        assert isinstance(mask, dict)
        found = frozenset(ALL_TYPES)
        if "type" in mask:
            named = mask["type"] if isinstance(mask["type"], list) else [mask["type"]]
            found &= {"number" if name == "integer" else name for name in named}
        if "enum" in mask:
            found &= {type_of(value) for value in mask["enum"]}
        for part in mask.get("allOf", ()):
            found &= self.types(part, depth + 1)
        if "anyOf" in mask:
            found &= frozenset().union(*(self.types(p, depth + 1) for p in mask["anyOf"]))
        if "$ref" in mask:
            found &= self.types({"$ref": mask["$ref"]}, depth + 1)
        return found

    def ways(self, mask: Mask) -> int:
        """How many ways there are through a mask, where it is multiplied with another."""
        return self._shape(mask, [MOST_VISITS])[0]

    def names(self, mask: Mask) -> int:
        """How many properties a mask speaks of, in all its ways."""
        return self._shape(mask, [MOST_VISITS])[1]

    def _shape(self, mask: Mask, left: list[int]) -> tuple[int, int]:
        """The ways through a mask and the properties in them; what is too large is many."""
        mask = self.body(mask)
        left[0] -= 1
        if not isinstance(mask, dict):
            return 1, 0
        if left[0] < 0:
            return MOST_VISITS, MOST_VISITS
        options = [self._shape(part, left) for part in mask.get("anyOf", ())]
        parts = [self._shape(part, left) for part in mask.get("allOf", ())]
        ways = sum(ways for ways, _ in options) if options else 1
        for more, _ in parts:
            ways = min(ways * more, MOST_VISITS)
        names = len(mask.get("properties", ())) + sum(names for _, names in (*options, *parts))
        return ways, names

    def heavy(self, mask: Mask, most: int = 120) -> bool:
        """Whether a mask, with all that it refers to, has more than `most` parts."""
        seen: set[str] = set()
        stack: list[Any] = [mask]
        parts = 0
        while stack and parts <= most:
            node = stack.pop()
            if isinstance(node, list):
                stack.extend(node)
            elif isinstance(node, dict):
                parts += 1
                name = node.get("$ref")
                if isinstance(name, str) and name not in seen:
                    seen.add(name)
                    stack.append(self._definitions.get(name.rpartition("/")[2]))
                stack.extend(inner(node))
        return parts > most

    def disjoint(  # noqa: PLR0911
        self, one: Mask, other: Mask, depth: int = 0, among: frozenset[str] = frozenset(ALL_TYPES)
    ) -> bool:
        """Whether it is certain that no value (of the types `among`) fits both.

        Nothing is, once very many masks have been compared.
        """
        self._comparisons -= 1
        if self._comparisons < 0:
            return False
        one, other = self.body(one), self.body(other)
        common = self.types(one) & self.types(other) & among
        if not common:
            return True
        if not isinstance(one, dict) or not isinstance(other, dict) or depth > 4:
            return False
        if "enum" in one and "enum" in other:
            return set(map(identity, one["enum"])).isdisjoint(map(identity, other["enum"]))
        for left, right in ((one, other), (other, one)):
            if "anyOf" in left:
                return all(self.disjoint(part, right, depth + 1, among) for part in left["anyOf"])
        for left, right in ((one, other), (other, one)):
            parts = left.get("allOf", ())
            if any(self.disjoint(part, right, depth + 1, common) for part in parts):
                return True
        return common == {"object"} and self._apart(one, other, depth)

    def _apart(self, one: dict[str, Any], other: dict[str, Any], depth: int) -> bool:
        """Whether a property that one of two objects must have tells them apart."""
        for name in {*one.get("required", ()), *other.get("required", ())}:
            if self.disjoint(self._property(one, name), self._property(other, name), depth + 1):
                return True
        return False

    def _property(self, mask: dict[str, Any], name: str) -> Mask:
        if name in mask.get("properties", {}):
            of_that_name: Mask = mask["properties"][name]
            return of_that_name
        return mask.get("additionalProperties") is not False or bool(mask.get("patternProperties"))


def type_of(value: Any) -> str:
    """The type of a JSON value; an integer is a number."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    return bool(identity(one) == identity(other))


def identity(value: Any) -> Any:
    """Something hashable that is the same for equal JSON values."""
    if isinstance(value, list):
        return ("array", *map(identity, value))
    if isinstance(value, dict):
        return ("object", frozenset((name, identity(item)) for name, item in value.items()))
    return (isinstance(value, bool), value)
