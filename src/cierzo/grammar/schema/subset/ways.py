"""The ways through a mask: what fits it, as alternatives without references and conditions.

Each way is `{}` (anything), a list of constants, or a mask of one type, whose parts may be of any
form. llguidance finds the same for itself; this is for masks that it cannot be given whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, TypeAlias

from cierzo.grammar.pattern import MatchError, Work, matches
from cierzo.grammar.schema.errors import SchemaError
from cierzo.grammar.schema.intervals import BOUNDS, interval_of
from cierzo.grammar.schema.masks import ALL_TYPES, Mask, all_of, identity
from cierzo.grammar.validation import Unverifiable, faults, validator_for

Way: TypeAlias = dict[str, Any]

MOST_WAYS = 128
MOST_STEPS = 300_000  # values that are looked at, properties that are put together
TOO_MANY = "has too many alternatives around its constants, bounds and patterns"
_DEEPEST = 64  # references that only lead to others
_NUMBERS = (*BOUNDS, "multipleOf")
_ARRAYS = ("prefixItems", "items", "minItems", "maxItems")
_OBJECTS = (
    *("properties", "required", "patternProperties", "additionalProperties"),
    *("minProperties", "maxProperties"),
)
_SAID_OF: Mapping[str, tuple[str, ...]] = {
    "number": _NUMBERS,
    "integer": _NUMBERS,
    "string": ("minLength", "maxLength", "pattern"),
    "array": _ARRAYS,
    "object": _OBJECTS,
}


class Ways:
    """Finds ways through masks that refer to `definitions`. `exact`: no way allows more."""

    def __init__(self, definitions: Mapping[str, Mask]) -> None:
        self._definitions = definitions
        self._work = Work(MOST_STEPS)
        self._validator = validator_for({"$defs": definitions}, 2020, self._work)
        self.exact = True

    def through(self, mask: Mask, depth: int = 0) -> list[Way]:
        """The ways. Raises SchemaError where there are too many."""
        if isinstance(mask, bool):
            return [{}] if mask else []
        if depth > _DEEPEST:
            raise SchemaError("refers to itself without end")
        parts = [_own(mask)]
        if "enum" in mask:
            parts.append([{"enum": mask["enum"]}])
        if "$ref" in mask:
            body = self._definitions[mask["$ref"].rpartition("/")[2]]
            parts.append(self.through(body, depth + 1))
        parts += (self.through(part, depth + 1) for part in mask.get("allOf", ()))
        if "anyOf" in mask:
            parts.append([way for part in mask["anyOf"] for way in self.through(part, depth + 1)])
        ways: list[Way] = [{}]
        for part in parts:
            if len(ways) * len(part) > MOST_WAYS:
                raise SchemaError(TOO_MANY)
            ways = [way for pair in product(ways, part) for way in self._both(*pair)]
        return ways

    def _both(self, one: Way, other: Way) -> list[Way]:
        """The way of what fits both; nothing where nothing does."""
        self._spend(1 + sum(map(_size, (one, other))))
        if not one or not other:
            return [one or other]
        if "enum" in one or "enum" in other:
            values = self._shared(one, other)
            return [{"enum": values}] if values else []
        kinds = {one["type"], other["type"]}
        if kinds == {"integer", "number"}:
            kinds = {"integer"}
        if len(kinds) > 1:
            return []
        (kind,) = kinds
        return [{"type": kind, **self._merged(kind, one, other)}]

    def _merged(self, kind: str, one: Way, other: Way) -> Way:
        if kind in ("number", "integer"):
            return _numbers(one, other)
        if kind == "array":
            return _arrays(one, other)
        if kind == "object":
            return self._objects(one, other)
        return one if one == other else {"allOf": [one, other]}

    def _shared(self, one: Way, other: Way) -> list[Any]:
        """The constants that fit both."""
        if "enum" not in one:
            one, other = other, one
        if "enum" in other:
            identities = set(map(identity, other["enum"]))
            return [value for value in one["enum"] if identity(value) in identities]
        return [value for value in one["enum"] if self._fits(value, other)]

    def _fits(self, value: Any, way: Way) -> bool:
        try:
            return next(faults(self._validator.evolve(schema=way), value), None) is None
        except (Unverifiable, MatchError) as error:
            raise SchemaError(TOO_MANY) from error
        except (RecursionError, LookupError):
            self.exact = False
            return True

    def _spend(self, amount: int) -> None:
        try:
            self._work.spend(amount)
        except MatchError as error:
            raise SchemaError(TOO_MANY) from error

    def _objects(self, one: Way, other: Way) -> Way:
        names = dict.fromkeys([*one.get("properties", ()), *other.get("properties", ())])
        found: Way = {}
        if names:
            found["properties"] = {
                name: all_of(self.property(way, name) for way in (one, other)) for name in names
            }
        needed = dict.fromkeys([*one.get("required", ()), *other.get("required", ())])
        if needed:
            found["required"] = list(needed)
        patterns = one.get("patternProperties", {}), other.get("patternProperties", {})
        rest = one.get("additionalProperties", True), other.get("additionalProperties", True)
        merged = {
            text: all_of([patterns[0].get(text, rest[0]), patterns[1].get(text, rest[1])])
            for text in dict.fromkeys([*patterns[0], *patterns[1]])
        }
        if merged:
            found["patternProperties"] = merged
            # A name that two patterns match is for the check.
            self.exact &= (
                not (patterns[0] and patterns[1]) or patterns[0].keys() == patterns[1].keys()
            )
        if rest != (True, True):
            found["additionalProperties"] = all_of(rest)
        return {**found, **_counts(one, other, "Properties")}

    def property(self, way: Way, name: str) -> Mask:
        """What an object says of a name. The rewriter has joined patterns with properties."""
        if name in way.get("properties", {}):
            return way["properties"][name]  # type: ignore[no-any-return]
        try:
            masks = [
                mask
                for pattern, mask in way.get("patternProperties", {}).items()
                if matches(pattern, name, self._work)
            ]
        except MatchError as error:
            raise SchemaError(TOO_MANY) from error
        return all_of(masks) if masks else way.get("additionalProperties", True)


def _size(way: Way) -> int:
    return len(way.get("enum", ())) + len(way.get("properties", ())) + len(way.get("required", ()))


def _own(mask: dict[str, Any]) -> list[Way]:
    """The ways of what a mask says itself, one for each type."""
    said = mask.keys() - {"enum", "$ref", "allOf", "anyOf", "$defs"}
    if not said:
        return [{}]
    types = mask.get("type", list(ALL_TYPES))
    return [
        {"type": kind, **{key: mask[key] for key in _SAID_OF.get(kind, ()) if key in mask}}
        for kind in ([types] if isinstance(types, str) else types)
    ]


def _numbers(one: Way, other: Way) -> Way:
    steps = [way["multipleOf"] for way in (one, other) if "multipleOf" in way]
    merged = interval_of(one).within(interval_of(other)).keywords()
    if len(set(steps)) > 1:
        merged["allOf"] = [{"multipleOf": step} for step in steps]
    elif steps:
        merged["multipleOf"] = steps[0]
    return merged


def _arrays(one: Way, other: Way) -> Way:
    merged: Way = _counts(one, other, "Items")
    first = one.get("prefixItems", []), other.get("prefixItems", [])
    rest = one.get("items", True), other.get("items", True)
    if any(first):
        merged["prefixItems"] = [
            all_of(
                items[at] if at < len(items) else left
                for items, left in zip(first, rest, strict=True)
            )
            for at in range(max(map(len, first)))
        ]
    if rest != (True, True):
        merged["items"] = all_of(rest)
    return merged


def _counts(one: Way, other: Way, what: str) -> Way:
    least = [way[f"min{what}"] for way in (one, other) if f"min{what}" in way]
    most = [way[f"max{what}"] for way in (one, other) if f"max{what}" in way]
    return {
        **({f"min{what}": max(least)} if least else {}),
        **({f"max{what}": min(most)} if most else {}),
    }
