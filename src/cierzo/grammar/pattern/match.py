"""Matching in bounded time: all ways at once, as sets of positions, so that nothing is tried twice.

A set of positions is one integer, a bit for each. The work is counted, and no pattern can run away:
what would take too long is an error, the same on every machine.
"""

from __future__ import annotations

from cierzo.grammar.pattern.nodes import Anchor, Chars, Choice, Look, Node, Repeat, Sequence
from cierzo.grammar.pattern.parse import parse

MOST_WORK = 1_000_000  # about a quarter of a second


class MatchError(ValueError):
    """The match would take too much work."""


class Work:
    """How much may still be done; several matches can share it."""

    def __init__(self, left: int = MOST_WORK) -> None:
        self.left = left

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise MatchError("that takes too much work")


def matches(pattern: str, text: str, work: Work | None = None) -> bool:
    """Say whether the pattern is found anywhere in the text."""
    matcher = _Matcher(text, work or Work())
    return matcher.ends(parse(pattern), (1 << (len(text) + 1)) - 1) != 0


class _Matcher:
    def __init__(self, text: str, work: Work) -> None:
        self.size = len(text)
        self.work = work
        work.spend(10 + self.size // 4)
        self.cost = 1 + self.size // 2048  # of one operation on a set
        self.chars: dict[str, int] = {}  # where each character stands
        positions: dict[str, list[int]] = {}
        for at, char in enumerate(text):
            positions.setdefault(char, []).append(at)
        for char, places in positions.items():
            bits = bytearray(self.size // 8 + 1)
            for at in places:
                bits[at >> 3] |= 1 << (at & 7)
            self.chars[char] = int.from_bytes(bits, "little")
        self.sets: dict[Chars, int] = {}

    def where(self, chars: Chars) -> int:
        known = self.sets.get(chars)
        if known is None:
            known = 0
            for char, bits in self.chars.items():
                if chars.has(ord(char)):
                    known |= bits
                    self.work.spend(self.cost)
            self.sets[chars] = known
        return known

    def ends(self, node: Node, starts: int) -> int:  # noqa: PLR0911
        """Give where the node can end, if it begins at any of `starts`."""
        self.work.spend(self.cost)
        if not starts:
            return 0
        if isinstance(node, Chars):
            return (starts & self.where(node)) << 1
        if isinstance(node, Sequence):
            for item in node.items:
                starts = self.ends(item, starts)
            return starts
        if isinstance(node, Choice):
            found = 0
            for option in node.options:
                found |= self.ends(option, starts)
            return found
        if isinstance(node, Repeat):
            return self.repeat(node, starts)
        if isinstance(node, Anchor):
            return starts & self.places(node)
        return self.look(node, starts)

    def repeat(self, node: Repeat, starts: int) -> int:
        for _ in range(node.low):
            if not starts:
                return 0
            starts = self.ends(node.item, starts)
        if isinstance(node.item, Chars) and node.high is None:
            # A carry runs through the characters that fit, to the first that does not.
            fit = self.where(node.item)
            return starts | (fit ^ (fit + (starts & fit)))
        found = fresh = starts
        more = node.high - node.low if node.high is not None else self.size + 1
        while more > 0 and fresh:
            fresh = self.ends(node.item, fresh) & ~found
            found |= fresh
            more -= 1
        return found

    def places(self, node: Anchor) -> int:
        if node.kind == "^":
            return 1
        if node.kind == "$":
            return 1 << self.size
        word = self.where(Chars(((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))))
        beside = word ^ (word << 1)
        return beside if node.kind == "b" else ~beside & ((1 << (self.size + 1)) - 1)

    def look(self, node: Look, starts: int) -> int:
        found = 0
        if node.ahead:
            for at in _bits(starts):
                if self.ends(node.item, 1 << at):
                    found |= 1 << at
        else:
            found = self.ends(node.item, (1 << (self.size + 1)) - 1)
        return starts & ~found if node.negative else starts & found


def _bits(positions: int) -> list[int]:
    out = []
    while positions:
        low = positions & -positions
        out.append(low.bit_length() - 1)
        positions ^= low
    return out
