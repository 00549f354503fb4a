"""Remembers which prefixes were evicted of late, so that it is known what is computed once more."""

from __future__ import annotations

from cierzo.engine.cache.prefix_tree import Node
from cierzo.engine.sequence import Sequence


class Evicted:
    """Keys of nodes, so many at most; those evicted first are forgotten first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._keys: dict[int, None] = {}

    def note(self, node: Node) -> None:
        """A node is evicted."""
        key = key_of(node)
        self._keys.pop(key, None)
        self._keys[key] = None
        if len(self._keys) > self._most:
            del self._keys[next(iter(self._keys))]

    def num_lost(self, node: Node, sequence: Sequence, block_size: int) -> int:
        """Tokens of a sequence, which could begin from a node, that were evicted behind it."""
        tokens = sequence.tokens
        key, first = key_of(node), node.depth * block_size
        end = first
        while end + block_size <= sequence.most_cached:
            key = key_after(key, tokens[end : end + block_size].tobytes())
            if key not in self._keys:
                break
            end += block_size
        return end - first


def key_of(node: Node) -> int:
    """A number that hardly any other prefix has: good enough to guess what work is ahead."""
    if node.key == 0:
        for step in node.path():
            if step.key == 0:
                assert step.parent is not None
                step.key = key_after(step.parent.key, step.tokens)
    return node.key


def key_after(key: int, tokens: bytes) -> int:
    """The key of a prefix that is longer by these tokens."""
    return hash((key, tokens)) or 1
