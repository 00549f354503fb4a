"""Expressions written in the syntax that masks take: Rust's.

llguidance leaves out, without a word, a character that it cannot write in a JSON string: `^a\\x07$`
would be `a`. So those are taken out of sets that have others too. Where nothing else is left they
stay, which makes the pattern an odd one: not for llguidance, but to be written out by `in_json`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cierzo.grammar.pattern.nodes import (
    ANY_CHARACTER,
    ANYTHING,
    Anchor,
    Chars,
    Choice,
    Node,
    Ranges,
    Repeat,
    Sequence,
    without,
)

# Control characters, but for those that have an escape of one letter.
ODD: Ranges = ((0, 7), (0x0B, 0x0B), (0x0E, 0x1F), (0x7F, 0x7F))
_ODD_IN_PATTERN = re.compile(r"\\x\{(?:[0-7BEF]|1[0-9A-F]|7F)\}")
_ESCAPES = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 0x22: '"', 0x5C: "\\\\"}
_RAW: Ranges = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, 0x10FFFF))
NOTHING = r"[^\x00-\x{10FFFF}]"


def spelled(node: Node) -> str:
    """Writes an expression without anchors and lookaround in Rust's syntax."""
    return _written(node, _set, "(?s:.*)")


def is_odd(pattern: str) -> bool:
    """Whether a pattern that was written here has characters that llguidance cannot write."""
    return _ODD_IN_PATTERN.search(pattern) is not None


def in_json(node: Node) -> str:
    """Writes an expression for the JSON strings, without quotes, that stand for matching texts.

    `node` is a pattern of whole texts. Anchors are left out.
    """
    return _written(node, _json_set, f"{_json_set(ANY_CHARACTER)}*")


def _written(node: Node, write: Callable[[Chars], str], anything: str) -> str:
    if isinstance(node, Chars):
        return write(node)
    if isinstance(node, Anchor):
        return ""
    if isinstance(node, Sequence):
        inner = [(item, _written(item, write, anything)) for item in node.items]
        return "".join(f"(?:{text})" if isinstance(item, Choice) else text for item, text in inner)
    if isinstance(node, Choice):
        return "|".join(_written(option, write, anything) for option in node.options)
    assert isinstance(node, Repeat)
    if node == ANYTHING:
        return anything
    low, high = node.low, node.high
    counts = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((low, high))
    if counts is None:
        counts = f"{{{low}}}" if low == high else f"{{{low},{'' if high is None else high}}}"
    item = _written(node.item, write, anything)
    return f"{item}{counts}" if isinstance(node.item, Chars) else f"(?:{item}){counts}"


def _set(chars: Chars) -> str:
    return _class(without(chars.ranges, ODD) or chars.ranges)


def _json_set(chars: Chars) -> str:
    """A group of the ways in which JSON writes the characters, one of them."""
    raw = [
        (max(low, first), min(high, last))
        for low, high in chars.ranges
        for first, last in _RAW
        if max(low, first) <= min(high, last)
    ]
    options = [_class(tuple(raw))] if raw else []
    options += [f"\\\\{letter}" for point, letter in _ESCAPES.items() if chars.has(point)]
    others = [point for point in range(0x20) if chars.has(point) and point not in _ESCAPES]
    if others:
        options.append(rf"\\u00(?:{'|'.join(f'{point:02x}' for point in others)})")
    return f"(?:{'|'.join(options)})" if options else NOTHING


def _class(chars: Ranges) -> str:
    # Halves of surrogate pairs are not characters in UTF-8.
    ranges: list[tuple[int, int]] = []
    for low, high in chars:
        ranges.extend(
            (max(low, first), min(high, last))
            for first, last in ((0, 0xD7FF), (0xE000, 0x10FFFF))
            if max(low, first) <= min(high, last)
        )
    if not ranges:
        return NOTHING
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        return spelled_char(ranges[0][0])
    inside = "".join(
        spelled_char(low) if low == high else f"{spelled_char(low)}-{spelled_char(high)}"
        for low, high in ranges
    )
    return f"[{inside}]"


def spelled_char(point: int) -> str:
    char = chr(point)
    return char if char.isascii() and char.isalnum() else f"\\x{{{point:X}}}"
