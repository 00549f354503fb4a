"""Making a grammar of a schema: work in proportion to its size, or bounded."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from cierzo.grammar.schema import SchemaError, enforce
from cierzo.grammar.schema.masks import MOST_COMPARISONS, Known, Mask, all_of, any_of
from tests.work.counting import lines_of


def work_for(schema: Any) -> int:
    """Lines that run until a schema is made into a mask, or refused."""

    def run() -> None:
        with contextlib.suppress(SchemaError):
            enforce(json.loads(json.dumps(schema)))

    return lines_of(run)


def references(count: int) -> dict[str, Any]:
    chain: dict[str, Any] = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(count)}
    return {"$defs": chain | {f"d{count}": {"type": "string"}}, "$ref": "#/$defs/d0"}


def properties(count: int, of: Callable[[int], Any]) -> dict[str, Any]:
    return {f"p{i}": of(i) for i in range(count)}


GROWING: dict[str, Callable[[int], Any]] = {
    "constants": lambda n: {"enum": [f"value {i}" for i in range(n)]},
    "constants that are objects": lambda n: {"enum": [{"a": [i]} for i in range(n)]},
    "constants that are odd": lambda n: {"enum": [f"\a{i}" for i in range(n)]},
    "properties": lambda n: {"type": "object", "properties": properties(n, lambda _: {})},
    "what is required": lambda n: {"type": "object", "required": [f"p{i}" for i in range(n)]},
    "one name that is required": lambda n: {"type": "object", "required": ["p"] * n},
    "alternatives": lambda n: {"anyOf": [{"const": f"v{i}"} for i in range(n)]},
    "alternatives that are the same": lambda n: {"anyOf": [{"type": "string"}] * n},
    "alternatives that are objects": lambda n: {
        "anyOf": [{"type": "object", "properties": {f"k{i}": {"const": i}}} for i in range(n)]
    },
    "parts of one object": lambda n: {"allOf": [{"properties": {f"p{i}": {}}} for i in range(n)]},
    "bounds of one property": lambda n: {
        "allOf": [{"properties": {"p": {"minLength": i}}} for i in range(n)]
    },
    "conditions": lambda n: {
        "allOf": [
            {"if": {"properties": {f"p{i}": {"const": 1}}}, "then": {"required": [f"q{i}"]}}
            for i in range(n // 4)
        ]
    },
    "a chain of references": references,
    "references to one place": lambda n: {
        "$defs": {"d": {"enum": [f"v{i}" for i in range(n)]}},
        "properties": properties(n, lambda _: {"$ref": "#/$defs/d"}),
    },
    "references to themselves": lambda n: {
        "$defs": {
            f"d{i}": {
                "type": "object",
                "properties": {"n": {"$ref": f"#/$defs/d{(i * 7 + 1) % n}"}},
            }
            for i in range(n)
        },
        "$ref": "#/$defs/d0",
    },
    "properties that need others": lambda n: {
        "type": "object",
        "dependentRequired": {f"p{i}": [f"p{(i + 1) % n}"] for i in range(n)},
    },
    "items that are unique": lambda n: {
        "uniqueItems": True,
        "items": {"enum": [f"v{i}" for i in range(n)]},
    },
    "items in order": lambda n: {"prefixItems": [{"type": "string"}] * n},
    "steps": lambda n: {"allOf": [{"multipleOf": i + 0.5} for i in range(n)]},
    "long patterns": lambda n: {"type": "string", "pattern": "a" * n},
    "characters of a class": lambda n: {
        "type": "string",
        "pattern": "[" + "".join(chr(0x4E00 + 2 * i) for i in range(n)) + "]",
    },
    "what is none of many": lambda n: {
        "type": "string",
        "not": {"enum": [f"v{i}" for i in range(n)]},
    },
    "words that nobody knows": lambda n: {"type": "string"} | {f"x{i}": i for i in range(n)},
}


@pytest.mark.parametrize("kind", GROWING)
def test_a_schema_takes_work_as_it_is_large(kind: str) -> None:
    """Twice as much where the mask turns out too large, and is made again with fewer ways."""
    make = GROWING[kind]
    work_for(make(16))  # what is made once is made
    assert work_for(make(400)) <= 2 * 4.6 * work_for(make(100)) + 2_000


def doubled(levels: int, level: Callable[[Any, Any], Any]) -> dict[str, Any]:
    """Definitions of which each has the next one twice."""
    below = [{"$ref": f"#/$defs/d{i + 1}"} for i in range(levels)]
    made = {f"d{i}": level(below[i], below[i]) for i in range(levels)}
    return {"$defs": made | {f"d{levels}": {"type": "string"}}, "$ref": "#/$defs/d0"}


# What multiplies, and the lines that it may take however large it is. A line is about 0.1 us.
BOUNDED: dict[str, Callable[[], Any]] = {
    "patterns by names": lambda: {
        "properties": properties(120, lambda _: {}),
        "patternProperties": {f"^(p|q)*{i}$": {"minLength": i} for i in range(120)},
    },
    "patterns that backtrack, by names": lambda: {
        "properties": {"a" * 50 + str(i): {} for i in range(120)},
        "patternProperties": {f"^(a|a)*b{i}$": {"minLength": i} for i in range(120)},
    },
    "one of many": lambda: {"oneOf": [{"type": "string", "maxLength": i} for i in range(1_000)]},
    "one of many constants": lambda: {"oneOf": [{"const": i} for i in range(1_000)]},
    "one of many objects": lambda: {
        "oneOf": [{"properties": {"k": {"const": i}}, "required": ["k"]} for i in range(600)]
    },
    "alternatives by alternatives": lambda: {
        "allOf": [{"anyOf": [{"required": [f"a{i}{j}"]} for j in range(8)]} for i in range(20)]
    },
    "doubling unions": lambda: doubled(40, lambda a, b: {"anyOf": [a, b]}),
    "doubling parts": lambda: doubled(40, lambda a, b: {"allOf": [a, b]}),
    "doubling choices": lambda: doubled(12, lambda a, b: {"oneOf": [a, b]}),
    "doubling negations": lambda: doubled(16, lambda a, b: {"allOf": [{"not": a}, b]}),
    "doubling objects": lambda: doubled(
        40, lambda a, b: {"properties": {"a": a, "b": b}, "required": ["a", "b"]}
    ),
    "nested quantifiers": lambda: {"pattern": "(" * 40 + "a" + "+)" * 40},
    "counts of counts": lambda: {"pattern": "^(a{1,1000}){1,1000}$"},
}


@pytest.mark.parametrize("kind", BOUNDED)
def test_what_multiplies_is_bounded(kind: str) -> None:
    assert work_for(BOUNDED[kind]()) <= 6_000_000


class Part(dict[str, Any]):
    """A part of a mask that counts how often it is compared with others."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Part.compared += 1
        return dict.__eq__(self, other)

    __hash__ = None


@pytest.mark.parametrize("join", [all_of, any_of])
def test_parts_are_looked_up(join: Callable[[list[Mask]], Mask]) -> None:
    """Comparing each with all others would be no lines of ours, but a second for a few thousand."""
    parts: list[Mask] = [Part(minLength=i % 500) for i in range(1_000)]
    Part.compared = 0
    joined = join(parts)
    assert isinstance(joined, dict)
    assert len(next(iter(joined.values()))) == 500
    assert Part.compared <= 2 * len(parts)


def test_what_is_told_apart_is_not_what_python_takes_for_equal() -> None:
    assert any_of([{"enum": [1]}, {"enum": [True]}]) == {"anyOf": [{"enum": [1]}, {"enum": [True]}]}


def test_masks_are_compared_a_bounded_number_of_times() -> None:
    known = Known({})
    apart: tuple[Mask, Mask] = ({"type": "string"}, {"type": "null"})
    assert all(known.disjoint(*apart) for _ in range(MOST_COMPARISONS))
    assert not known.disjoint(*apart)
