"""Values and schemas that are hard to write or to compare: what JSON can hold, at its edges."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from hypothesis import strategies as st

# What has no short escape, what ends lines for some, the ends of planes; halves of pairs apart.
CHARACTERS = [
    *map(chr, range(0x20)),
    *("\x7f", "\x80", "\x85", "\xa0", "\u2028", "\u2029", "\ufeff", "\ufffd", "\uffff"),
    *("\ud7ff", "\ue000", "\U0001f600", "\U0010ffff", '"', "\\", "/", "a", "é", " "),
]
HALVES = ["\ud800", "\udbff", "\udc00", "\udfff"]

texts = st.text(st.sampled_from(CHARACTERS), max_size=5)
halved = st.text(st.sampled_from([*CHARACTERS, *HALVES]), max_size=5)
whole = st.one_of(
    st.integers(-20, 20),
    st.integers(-(10**40), 10**40),
    st.sampled_from([2**53, 2**63, 2**64, 10**22]).flatmap(
        lambda near: st.integers(near - 2, near + 2)
    ),
    st.integers(1, 9).map(lambda digit: int(f"{digit}" * 300)),
).flatmap(lambda number: st.sampled_from([number, -number]))
decimals = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1.5e300, -5e-324, sys.float_info.max, 1e16, 1e22, 0.1, 1e-5]),
    st.decimals(-1000, 1000, places=2).map(float),
)
numbers = whole | decimals
plain = st.none() | st.booleans() | numbers | texts


def constants(plain: st.SearchStrategy[Any], names: st.SearchStrategy[str]) -> Any:
    """Values of any form, out of plain ones."""
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=5,
    )


values = constants(plain, texts)
values_with_halves = constants(plain | halved, halved)

_bounded = st.fixed_dictionaries(
    {"type": st.sampled_from(["integer", "number"])},
    optional={
        "minimum": numbers,
        "maximum": numbers,
        "exclusiveMinimum": numbers,
        "exclusiveMaximum": numbers,
    },
)


def _between(low: int | float, width: int | float, kind: str) -> dict[str, Any]:
    """A schema of bounds that are near to each other, on whatever scale."""
    high = low + abs(width) if abs(low) < 2**53 else low + int(abs(width))
    return {"type": kind, "minimum": low, "maximum": max(low, high)}


_near = st.builds(
    _between, numbers, st.sampled_from([0, 1, 3, 0.5]), st.sampled_from(["integer", "number"])
)


def _is_pattern(text: str) -> bool:
    """Whether Python, which plain jsonschema asks, takes it."""
    try:
        re.compile(text)
    except re.error:
        return False
    return True


def _class(members: list[str]) -> str:
    return "[" + "".join(f"\\u{ord(char):04x}" for char in members) + "]"


_characters = st.lists(st.sampled_from(CHARACTERS[:-4]).filter(lambda c: c < "\uffff"), min_size=1)
_pieces = st.one_of(
    st.sampled_from(CHARACTERS).map(lambda char: char if char not in '\\"/' else f"\\{char}"),
    st.sampled_from(CHARACTERS).filter(lambda c: c < "\uffff").map(lambda c: f"\\u{ord(c):04x}"),
    _characters.map(_class),
    st.sampled_from([r"\s", r"\S", r"\w", r"\W", r"\d", r"\D", ".", "[^a]", r"\n"]),
)
_repeated = st.tuples(_pieces, st.sampled_from(["", "{2}", "?", "*", "{1,3}"])).map("".join)
patterns = st.builds(
    lambda pieces, start, end: f"{start}{''.join(pieces)}{end}",
    st.lists(_repeated, min_size=1, max_size=3),
    st.sampled_from(["^", ""]),
    st.sampled_from(["$", ""]),
).filter(_is_pattern)
_strings = st.fixed_dictionaries(
    {"type": st.just("string"), "maxLength": st.integers(0, 6)},
    optional={"pattern": patterns, "minLength": st.integers(0, 3)},
)
_leaves = st.one_of(
    values.map(lambda value: {"const": value}),
    st.lists(values, min_size=1, max_size=4).map(lambda some: {"enum": some}),
    _bounded,
    _near,
    _strings,
)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    named = st.dictionaries(texts, inner, max_size=3)
    return st.builds(
        lambda properties, more: {
            "type": "object",
            "properties": properties,
            "required": [name for name in properties if len(name) % 2],
            "additionalProperties": False,
            **more,
        },
        named,
        st.fixed_dictionaries(
            {},
            optional={
                "propertyNames": st.one_of(
                    patterns.map(lambda pattern: {"pattern": pattern}),
                    st.lists(texts, min_size=1, max_size=3).map(lambda some: {"enum": some}),
                ),
                "patternProperties": st.dictionaries(patterns, inner, max_size=1),
                "minProperties": st.integers(0, 1),
            },
        ),
    )


schemas = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        _objects(inner),
        st.builds(
            lambda items, most: {"type": "array", "items": items, "maxItems": most},
            inner,
            st.integers(0, 3),
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"anyOf": some}),
        st.lists(inner, min_size=2, max_size=2).map(lambda some: {"allOf": some}),
        st.builds(lambda wide, narrow: {**wide, "not": narrow}, _strings, inner),
    ),
    max_leaves=5,
)


def as_received(value: Any) -> Any:
    """A value as the server reads it: U+FFFD stands in place of half a pair."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
