"""A pattern as masks understand it: no lookaround, no anchors inside, matched over the whole text.

What cannot be said is left out, so that the mask allows more than the pattern, never less.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

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
)
from cierzo.grammar.pattern.parse import parse
from cierzo.grammar.pattern.spelling import ODD, spelled, spelled_char

MOST_PIECES = 200
LONGEST_WORD = 64  # that a lookahead may exclude; calls nest with every letter


@dataclass(frozen=True)
class RustPatterns:
    """Expressions in Rust's syntax that all hold; `exact`: they say what the pattern says."""

    patterns: tuple[str, ...]
    exact: bool


@lru_cache(maxsize=512)
def in_rust(pattern: str) -> RustPatterns:
    """Rewrites a pattern; PatternError if it is not one."""
    rewriter = _Rewriter()
    whole = rewriter.search(parse(pattern))
    parts = [part for part in (*rewriter.also, whole) if part != ANYTHING]
    texts = [part if isinstance(part, str) else spelled(part) for part in parts]
    patterns = tuple(f"^(?:{text})$" for text in texts)
    return RustPatterns(patterns, rewriter.exact)


def quoted(text: str) -> str:
    """The pattern that only `text` matches, without anchors."""
    return "".join(spelled_char(ord(char)) for char in text)


def excluding(texts: Iterable[str]) -> str:
    """The pattern of every text but these."""
    return f"^(?:{_spelled_others(_trie((text, True) for text in texts))})$"


def _spelled_others(node: _Trie) -> str:
    """Writes what `_others` gives at once: texts may be long, and calls nest once a letter."""
    other = complement((ord(char), ord(char)) for char in node.nexts)
    options = [] if node.excluded else [""]
    options.append(f"{spelled(Chars(other))}{spelled(ANYTHING)}")
    for char, child in node.nexts.items():
        # Where a text is free to begin so, none is written with such a character.
        if not Chars(ODD).has(ord(char)):
            options.append(f"{spelled_char(ord(char))}(?:{_spelled_others(child)})")
    return "|".join(options)


class _Rewriter:
    def __init__(self) -> None:
        self.exact = True
        # What lookaheads at the start demand of the whole text: expressions, or their spelling.
        self.also: list[Node | str] = []
        self.pieces = 0

    def search(self, node: Node) -> Node:
        """The texts in which `node` is found, as a pattern over the whole text."""
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
        """Takes a lookahead at the very start out, as a demand on the whole text."""
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
        """Leaves out what is not an ordinary expression; then more may match."""
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
    """The words a node stands for, and whether the text ends there; None if not so simple."""
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
    return [(text, ends)] if len(text) <= LONGEST_WORD else None


@dataclass
class _Trie:
    """Words by their letters. `excluded`: the word that ends here, "alone" or whatever follows."""

    nexts: dict[str, _Trie] = field(default_factory=dict)
    excluded: Literal["", "alone", "begun"] = ""


def _trie(words: Iterable[tuple[str, bool]]) -> _Trie:
    root = _Trie()
    for word, ends in words:
        node = root
        for char in word:
            node = node.nexts.setdefault(char, _Trie())
        if node.excluded != "begun":
            node.excluded = "alone" if ends else "begun"
    return root


def _not_starting(words: list[tuple[str, bool]]) -> Node:
    """The texts that start with none of the words (or, where it says so, are none of them)."""
    return _others(_trie(words)) or Chars(())


def _others(node: _Trie) -> Node | None:
    """The texts that go on from here to no excluded word; None: there are none."""
    if node.excluded == "begun":
        return None
    other = complement((ord(char), ord(char)) for char in node.nexts)
    options: list[Node] = [] if node.excluded else [EMPTY]
    options.append(Sequence((Chars(other), ANYTHING)))
    for char, child in node.nexts.items():
        rest = _others(child)
        if rest is not None:
            options.append(Sequence((Chars(((ord(char), ord(char)),)), rest)))
    return Choice(tuple(options))
