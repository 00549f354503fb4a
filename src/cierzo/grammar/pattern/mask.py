"""A pattern as masks understand it: no lookaround, no anchors inside, matched over the whole text.

What cannot be said is left out, so that the mask allows more than the pattern, never less.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from cierzo.grammar.pattern.nodes import (
    ANYTHING,
    EMPTY,
    Anchor,
    Chars,
    Choice,
    Look,
    Node,
    Repeat,
    Sequence,
    complement,
    without,
)
from cierzo.grammar.pattern.parse import parse

MOST_PIECES = 200
_UNSPELLED = ((0, 7), (0x0B, 0x0B), (0x0E, 0x1F))  # characters without a short escape in JSON


@dataclass(frozen=True)
class Masked:
    """Expressions in Rust's syntax that all hold; `exact`: they say what the pattern says."""

    patterns: tuple[str, ...]
    exact: bool


@lru_cache(maxsize=512)
def masked(pattern: str) -> Masked:
    """Rewrite a pattern; PatternError if it is none."""
    rewriter = _Rewriter()
    whole = rewriter.search(parse(pattern))
    texts = [*rewriter.also, whole]
    patterns = tuple(f"^(?:{spelled(node)})$" for node in texts if node != ANYTHING)
    return Masked(patterns, rewriter.exact)


def quoted(text: str) -> str:
    """Give the pattern that only `text` matches, without anchors."""
    return "".join(_char(ord(char)) for char in text)


def excluding(texts: Iterable[str]) -> str:
    """Give the pattern of every text but these."""
    root: dict[str, object] = {}
    for text in texts:
        node = root
        for char in text:
            node = node.setdefault(char, {})  # type: ignore[assignment]
        node[""] = True
    return f"^(?:{_others(root)})$"


def _others(node: dict[str, object]) -> str:
    nexts = {char: child for char, child in node.items() if char}
    other = complement((ord(char), ord(char)) for char in nexts)
    options = [f"{spelled(Chars(other))}{spelled(ANYTHING)}"]
    for char, child in nexts.items():
        assert isinstance(child, dict)
        options.append(f"{_char(ord(char))}(?:{_others(child)})")
    return "|".join(options) if "" in node else "|" + "|".join(options)


class _Rewriter:
    def __init__(self) -> None:
        self.exact = True
        self.also: list[Node] = []  # what lookaheads at the start demand of the whole text
        self.pieces = 0

    def search(self, node: Node) -> Node:
        """Give the texts in which `node` is found, as a pattern over the whole text."""
        return self.whole(node, left=False, right=False)

    def whole(self, node: Node, *, left: bool, right: bool) -> Node:
        """`left`, `right`: nothing may come before, or after, what `node` matches."""
        self.pieces += 1
        if self.pieces > MOST_PIECES:
            self.exact = False
            return ANYTHING
        if isinstance(node, Choice):
            self.whole_options(node)
            return Choice(tuple(self.whole(item, left=left, right=right) for item in node.options))
        items: list[Node] = list(node.items) if isinstance(node, Sequence) else [node]
        while items:
            first, last = items[0], items[-1]
            if isinstance(first, Sequence):
                items = [*first.items, *items[1:]]
            elif isinstance(last, Sequence):
                items = [*items[:-1], *last.items]
            elif first == Anchor("^"):
                left = True
                items.pop(0)
            elif last == Anchor("$"):
                right = True
                items.pop()
            elif isinstance(first, Look) and left and first.ahead and self.leads(first):
                items.pop(0)
            elif isinstance(first, Choice) and _anchored(first):
                rest = items[1:]
                return self.distributed([(option, *rest) for option in first.options], left, right)
            elif isinstance(last, Choice) and _anchored(last):
                rest = items[:-1]
                return self.distributed([(*rest, option) for option in last.options], left, right)
            else:
                break
        body = [self.plain(item) for item in items]
        before = [] if left else [ANYTHING]
        after = [] if right else [ANYTHING]
        found = [*before, *body, *after]
        while found[:2] == [ANYTHING, ANYTHING]:
            found.pop(0)
        return found[0] if len(found) == 1 else Sequence(tuple(found))

    def distributed(self, options: list[tuple[Node, ...]], left: bool, right: bool) -> Node:
        self.whole_options(Choice(()))
        return Choice(tuple(self.whole(Sequence(o), left=left, right=right) for o in options))

    def whole_options(self, _: Choice) -> None:
        """Lookaheads of one option say nothing about the others: from here on they are left out."""
        self.also_allowed = False

    also_allowed = True

    def leads(self, look: Look) -> bool:
        """Take a lookahead at the very start out, as a demand on the whole text."""
        if not self.also_allowed:
            return False
        if not look.negative:
            inner = _Rewriter()
            self.also.append(inner.whole(look.item, left=True, right=False))
            self.exact &= inner.exact
            return True
        words = _words(look.item)
        if words is None:
            return False
        self.also.append(_not_starting(words))
        return True

    def plain(self, node: Node) -> Node:
        """Leave out what is no ordinary expression; then more may match."""
        if isinstance(node, Anchor | Look):
            self.exact = False
            return EMPTY
        if isinstance(node, Sequence):
            return Sequence(tuple(self.plain(item) for item in node.items))
        if isinstance(node, Choice):
            return Choice(tuple(self.plain(item) for item in node.options))
        if isinstance(node, Repeat):
            return Repeat(self.plain(node.item), node.low, node.high)
        return node


def _anchored(node: Node) -> bool:
    if isinstance(node, Anchor | Look):
        return True
    if isinstance(node, Sequence):
        return any(_anchored(item) for item in node.items)
    if isinstance(node, Choice):
        return any(_anchored(item) for item in node.options)
    return False


def _words(node: Node) -> list[tuple[str, bool]] | None:
    """Give the words a node stands for, and whether the text ends there; None if not so simple."""
    if isinstance(node, Choice):
        found = [_words(option) for option in node.options]
        if any(words is None for words in found) or len(found) > 50:
            return None
        return [word for words in found if words for word in words]
    items = node.items if isinstance(node, Sequence) else (node,)
    ends = bool(items) and items[-1] == Anchor("$")
    text = ""
    for item in items[:-1] if ends else items:
        if isinstance(item, Choice) and len(items) == 1 + ends:
            inner = _words(item)
            return None if inner is None else [(word, ends or end) for word, end in inner]
        if not isinstance(item, Chars) or len(item.ranges) != 1:
            return None
        low, high = item.ranges[0]
        if low != high:
            return None
        text += chr(low)
    return [(text, ends)]


def _not_starting(words: list[tuple[str, bool]]) -> Node:
    """Give the texts that start with none of the words (or, where it says so, are none of them)."""
    root: dict[str, object] = {}
    for word, ends in words:
        node = root
        for char in word:
            node = node.setdefault(char, {})  # type: ignore[assignment]
        node["$" if ends else "*"] = True

    def others(node: dict[str, object]) -> Node | None:
        if "*" in node:
            return None
        nexts = {char: child for char, child in node.items() if child is not True}
        other = complement((ord(char), ord(char)) for char in nexts)
        options: list[Node] = [] if "$" in node else [EMPTY]
        options.append(Sequence((Chars(other), ANYTHING)))
        for char, child in nexts.items():
            assert isinstance(child, dict)
            rest = others(child)
            if rest is not None:
                options.append(Sequence((Chars(((ord(char), ord(char)),)), rest)))
        return Choice(tuple(options))

    return others(root) or Chars(())


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
        return _char(ranges[0][0])
    inside = "".join(
        _char(low) if low == high else f"{_char(low)}-{_char(high)}" for low, high in ranges
    )
    return f"[{inside}]"


def _char(point: int) -> str:
    char = chr(point)
    return char if char.isascii() and char.isalnum() else f"\\x{{{point:X}}}"
