"""Expressions written in the syntax that masks take: Rust's."""

from __future__ import annotations

from cierzo.grammar.pattern.nodes import ANYTHING, Chars, Choice, Node, Repeat, Sequence, without

_UNSPELLED = ((0, 7), (0x0B, 0x0B), (0x0E, 0x1F))  # characters without a short escape in JSON


def spelled(node: Node) -> str:
    """Write an expression without anchors and lookaround in Rust's syntax."""
    if isinstance(node, Chars):
        return _set(node)
    if isinstance(node, Sequence):
        return "".join(
            f"(?:{spelled(i)})" if isinstance(i, Choice) else spelled(i) for i in node.items
        )
    if isinstance(node, Choice):
        return "|".join(spelled(option) for option in node.options)
    assert isinstance(node, Repeat)
    if node == ANYTHING:
        return "(?s:.*)"
    low, high = node.low, node.high
    counts = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((low, high))
    if counts is None:
        counts = f"{{{low}}}" if low == high else f"{{{low},{'' if high is None else high}}}"
    item = spelled(node.item)
    return f"{item}{counts}" if isinstance(node.item, Chars) else f"(?:{item}){counts}"


def _set(chars: Chars) -> str:
    # Halves of surrogate pairs are no characters in UTF-8.
    ranges: list[tuple[int, int]] = []
    allowed = chars.ranges
    if not (chars.has(ord('"')) and chars.has(ord("\\"))):
        # Where a set has all control characters, llguidance takes it to have these two as well.
        # Most of those have no spelling in a mask anyway.
        allowed = without(allowed, _UNSPELLED)
    for low, high in allowed:
        ranges.extend(
            (max(low, first), min(high, last))
            for first, last in ((0, 0xD7FF), (0xE000, 0x10FFFF))
            if max(low, first) <= min(high, last)
        )
    if not ranges:
        return r"[^\x00-\x{10FFFF}]"
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
