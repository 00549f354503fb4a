"""Masks with what llguidance cannot write: bounded work, and no weaker where it is too much."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from cierzo.grammar.schema import enforce
from cierzo.grammar.schema.subset.outline import outlined
from tests.support.masks import lets_through, matcher_for, takes

BELL = "\x07"


def bells(count: int) -> list[str]:
    return [f"{BELL}{number:06}" for number in range(count)]


def chained(count: int, *, forwards: bool) -> Any:
    """Definitions each of which refers to the next one; the last is odd."""
    names = [f"d{number}" for number in range(count)]
    bodies: dict[str, Any] = {
        name: {"type": "array", "items": {"$ref": f"#/$defs/{after}"}}
        for name, after in itertools.pairwise(names)
    }
    bodies[names[-1]] = {"const": BELL}
    order = names if forwards else names[::-1]
    return {"$ref": f"#/$defs/{names[0]}", "$defs": {name: bodies[name] for name in order}}


def tangled(count: int) -> Any:
    """Definitions that refer to several others, in a circle."""
    definitions = {
        f"d{at}": {
            "type": "object",
            "properties": {
                "own": {"const": f"{BELL}{at}"},
                **{f"p{step}": {"$ref": f"#/$defs/d{(at + step) % count}"} for step in (1, 3, 7)},
            },
            "additionalProperties": False,
        }
        for at in range(count)
    }
    return {"$ref": "#/$defs/d0", "$defs": definitions}


def lines_for(work: Callable[[], object]) -> int:
    """How many lines of Python some work takes."""
    lines = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


GROWING: dict[str, Callable[[int], Any]] = {
    "constants in an enumeration": lambda n: {"enum": bells(n)},
    "large numbers in an enumeration": lambda n: {"enum": [2**60 + at for at in range(n)]},
    "alternatives": lambda n: {"anyOf": [{"const": bell} for bell in bells(n // 2)]},
    "definitions in a row": lambda n: chained(n // 4, forwards=True),
    "definitions in a row, from the end": lambda n: chained(n // 4, forwards=False),
    "definitions in a circle": lambda n: tangled(n // 4),
    "properties": lambda n: {
        "type": "object",
        "properties": {f"p{at}": {"const": bell} for at, bell in enumerate(bells(n // 2))},
        "additionalProperties": False,
    },
    "items": lambda n: {"prefixItems": [{"const": bell} for bell in bells(n // 4)], "items": False},
    "patterns": lambda n: {"allOf": [{"pattern": f"{BELL}{at}"} for at in range(n // 4)]},
}


@pytest.mark.parametrize("kind", GROWING)
def test_work_grows_as_the_schema_does(kind: str) -> None:
    small, large = (lines_for(partial(enforce, GROWING[kind](n))) for n in (40, 160))
    assert large <= 4.6 * small
    assert len(enforce(GROWING[kind](160)).expression) > 100


HOSTILE: dict[str, Any] = {
    "many ways": {
        "allOf": [
            {"anyOf": [{"properties": {f"a{at}": {"const": bell}}} for bell in bells(4)]}
            for at in range(8)
        ]
    },
    "constants against ways": {
        "allOf": [{"enum": bells(5_000)}, {"anyOf": [{"pattern": f"{at}$"} for at in range(60)]}]
    },
    "constants against constants": {
        "allOf": [{"anyOf": [{"enum": bells(900)} for _ in range(10)]} for _ in range(2)]
    },
    "a chain too long": chained(900, forwards=True),
    "many rules": {"properties": {bell: {"const": bell} for bell in bells(1_900)}},
    "the same large part again and again": {
        "properties": {
            "odd": {"const": BELL},
            **{f"p{at}": {"anyOf": [{"$ref": "#/$defs/big"}, {"const": at}]} for at in range(900)},
        },
        "$defs": {"big": {"properties": {f"q{at}": {"pattern": f"^a{at}"} for at in range(300)}}},
    },
    "bounds of thousands of digits": {"type": "integer", "minimum": int("7" * 4_000)},
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_would_be_too_much_is_left_to_the_check(kind: str) -> None:
    """Neither refused nor forgotten."""
    schema = HOSTILE[kind]
    assert lines_for(lambda: enforce(schema)) < 12_000_000
    held = enforce(schema)
    assert len(held.expression) < 1_000_000
    matcher_for(held)


def test_the_check_of_what_no_mask_expresses_is_the_schema_itself() -> None:
    schema = chained(900, forwards=True)
    held = enforce(schema)
    assert not held.exact
    assert takes(held, "[[[]]]")
    assert not takes(held, '"no array"')
    assert lets_through(schema, [[], [[[]]]])
    assert not lets_through(schema, [[], "no array"])
    assert not lets_through(schema, "no array")


def test_only_what_is_odd_is_written_out() -> None:
    plain = {"type": "object", "properties": {"a": {"enum": ["x", 1, 0.5]}}, "$defs": {}}
    outline = outlined(plain)
    assert outline is not None
    assert outline.expression.startswith("%json")
    part: dict[str, Any] = {
        **plain,
        "properties": {"a": {"enum": [BELL]}, "b": {"$ref": "#/$defs/b"}},
    }
    part["$defs"] = {"b": {"type": "array", "items": {"type": "boolean"}}}
    outline = outlined(part)
    assert outline is not None
    assert outline.expression.count("%json") >= 2
    assert json.dumps(BELL)[1:-1].replace("\\", "\\\\") in outline.expression
