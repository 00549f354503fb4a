"""What a pattern is made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

LAST = 0x10FFFF

Ranges: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Chars:
    """One character out of a set of code points."""

    ranges: Ranges

    def has(self, point: int) -> bool:
        return any(low <= point <= high for low, high in self.ranges)


@dataclass(frozen=True)
class Sequence:
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    options: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    item: Node
    low: int
    high: int | None


@dataclass(frozen=True)
class Anchor:
    """A place: the start (^) or end ($) of the text, or (not) beside a word (b, B)."""

    kind: Literal["^", "$", "b", "B"]


@dataclass(frozen=True)
class Look:
    """What must (not) follow, or come before, without being part of the match."""

    ahead: bool
    negative: bool
    item: Node


Node: TypeAlias = Chars | Sequence | Choice | Repeat | Anchor | Look

EMPTY = Sequence(())
ANY_CHARACTER = Chars(((0, LAST),))
ANYTHING = Repeat(ANY_CHARACTER, 0, None)


def counts(node: Node) -> bool:
    """Whether something longer than a character is counted in it: "up to 50 words"."""
    if isinstance(node, Repeat):
        many = max(node.low, node.high or 0) > 8 and not isinstance(node.item, Chars)
        return many or counts(node.item)
    if isinstance(node, Sequence | Choice):
        return any(map(counts, node.items if isinstance(node, Sequence) else node.options))
    return False


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Puts ranges in order and joins those that touch."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(high, out[-1][1]))
        else:
            out.append((low, high))
    return tuple(out)


def complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    out: list[tuple[int, int]] = []
    at = 0
    for low, high in merged(ranges):
        if low > at:
            out.append((at, low - 1))
        at = high + 1
    if at <= LAST:
        out.append((at, LAST))
    return tuple(out)


def without(ranges: Ranges, others: Ranges) -> Ranges:
    return complement((*complement(ranges), *others))
