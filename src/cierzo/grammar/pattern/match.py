"""Matching in bounded time: all ways at once, as sets of positions, so that nothing is tried twice.

A set of positions is one integer, a bit for each. The work is counted, and no pattern can run away:
what would take too long is an error, the same on every machine.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cierzo.grammar.pattern.nodes import Anchor, Chars, Choice, Look, Node, Repeat, Sequence, merged
from cierzo.grammar.pattern.parse import parse

MOST_WORK = 1_000_000  # about a quarter of a second
SLICE = 8_000  # work between two pauses


class MatchError(ValueError):
    """The match would take too much work."""


class Work:
    """How much may still be done; several matches can share it.

    `pause` is called now and then, by whoever works: there others can be let go first.
    """

    def __init__(self, left: int = MOST_WORK) -> None:
        self.left = left
        self.pause: Callable[[], None] | None = None
        self._floor = 0  # what must stay
        self._mark = max(left - SLICE, 0)  # where there is something to see to

    def spend(self, amount: int) -> None:
        """Notes what is about to be done; MatchError if that is too much."""
        self.left -= amount
        if self.left < self._mark:
            if self.pause is not None:
                self.pause()
            self._mark = max(self.left - SLICE, self._floor)
            if self.left < self._floor:
                raise MatchError("that takes too much work")

    def grant(self, amount: int) -> None:
        """Allows so much more."""
        self.left += amount

    @contextmanager
    def at_most(self, amount: int) -> Iterator[None]:
        """While this is open, no more than `amount` can be done."""
        before = self._floor
        self._floor = max(self.left - amount, before)
        self._mark = max(self.left - SLICE, self._floor)
        try:
            yield
        finally:
            self._floor = before
            self._mark = max(self.left - SLICE, before)


_SAME_CHARACTERS = re.compile(r"[^\r\x1c-\x1f\x80-\U0010ffff]*")
_CLASSES = re.compile(r"\\[bBdDwWsS]|\.")


def may_differ(pattern: str, text: str) -> bool:
    """Whether engines may disagree about whether a pattern is found in a text."""
    if text.endswith("\n"):
        return "$" in pattern or _CLASSES.search(pattern) is not None
    return _CLASSES.search(pattern) is not None and not _SAME_CHARACTERS.fullmatch(text)


def matches(pattern: str, text: str, work: Work | None = None) -> bool:
    """Whether the pattern is found anywhere in the text."""
    return found(parse(pattern), text, work or Work())


def found(node: Node, text: str, work: Work) -> bool:
    """Whether the pattern, which was read before, is found anywhere in the text."""
    return _Matcher(text, work).ends(node, (1 << (len(text) + 1)) - 1) != 0


class _Matcher:
    def __init__(self, text: str, work: Work) -> None:
        self.size = len(text)
        self.work = work
        work.spend(10 + self.size)
        self.cost = 1 + self.size // 2048  # of one operation on a set
        self.places_of: dict[int, list[int]] = {}  # where each character stands
        for at, char in enumerate(text):
            self.places_of.setdefault(ord(char), []).append(at)
        self.sets: dict[Chars, int] = {}

    def where(self, chars: Chars) -> int:
        known = self.sets.get(chars)
        if known is None:
            self.work.spend(self.size // 64)
            bits = bytearray(self.size // 8 + 1)
            for point in self.points(chars):
                places = self.places_of[point]
                self.work.spend(len(places) // 2)
                for at in places:
                    bits[at >> 3] |= 1 << (at & 7)
            known = self.sets[chars] = int.from_bytes(bits, "little")
        return known

    def points(self, chars: Chars) -> list[int]:
        """The characters that are in the set and in the text; the smaller is gone through."""
        self.work.spend(1 + len(chars.ranges))
        ranges = merged(chars.ranges)
        size = sum(1 + high - low for low, high in ranges)
        if size < len(self.places_of):
            self.work.spend(size // 4)
            every = (range(low, high + 1) for low, high in ranges)
            return [point for points in every for point in points if point in self.places_of]
        self.work.spend(len(self.places_of) // 4)
        lows = [low for low, _ in ranges]
        return [
            point
            for point in self.places_of
            if (at := bisect_right(lows, point)) and point <= ranges[at - 1][1]
        ]

    def ends(self, node: Node, starts: int) -> int:  # noqa: PLR0911
        """Where the node can end, if it begins at any of `starts`."""
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
            ends = 0
            for option in node.options:
                ends |= self.ends(option, starts)
            return ends
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
        ends = fresh = starts
        more = node.high - node.low if node.high is not None else self.size + 1
        while more > 0 and fresh:
            fresh = self.ends(node.item, fresh) & ~ends
            ends |= fresh
            more -= 1
        return ends

    def places(self, node: Anchor) -> int:
        if node.kind == "^":
            return 1
        if node.kind == "$":
            return 1 << self.size
        word = self.where(Chars(((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))))
        beside = word ^ (word << 1)
        return beside if node.kind == "b" else ~beside & ((1 << (self.size + 1)) - 1)

    def look(self, node: Look, starts: int) -> int:
        places = 0
        if node.ahead:
            self.work.spend(self.size // 4)
            for at in _bits(starts):
                if self.ends(node.item, 1 << at):
                    places |= 1 << at
        else:
            places = self.ends(node.item, (1 << (self.size + 1)) - 1)
        return starts & ~places if node.negative else starts & places


def _bits(positions: int) -> list[int]:
    digits = bin(positions)[:1:-1]
    return [at for at, digit in enumerate(digits) if digit == "1"]
