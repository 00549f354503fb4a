"""The tree of computed prefixes: each node is a block of the KV cache and the tokens that it holds.

A node's path from the root is a prefix of some sequence, and its block holds keys and values of the
last tokens of it. Children are found by their tokens themselves. Nodes are full blocks, but for
**tails**: leaves of fewer tokens, where a sequence ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

TOKEN_BYTES = 4  # int32
NO_BLOCK = -1  # of a root, and of a node that is no longer in the tree


@dataclass(eq=False, slots=True)
class Node:
    """One block of a prefix, and who needs it."""

    parent: Node | None
    tokens: bytes  # int32, as many as a block has, or fewer in a tail
    depth: int  # blocks from the root to its end
    block: int = NO_BLOCK
    children: dict[bytes, Node] = field(default_factory=dict)
    pins: int = 0  # running sequences whose path leads through it
    worth: float = 0.0  # what is worth least is evicted first
    session: tuple[str, bytes] | None = None  # that left it last: salt and name
    key: int = 0  # see `evicted.py`; 0 while it was not needed, and of a root without a salt
    name: bytes = b""  # of its prefix on disk, once it was needed; a root's from the beginning

    @property
    def num_tokens(self) -> int:
        """Tokens in its block."""
        return len(self.tokens) // TOKEN_BYTES

    @property
    def in_tree(self) -> bool:
        """Whether it can still be begun from; a root always can."""
        return self.parent is None or self.block != NO_BLOCK

    def path(self) -> list[Node]:
        """The nodes that lead to it, itself last, without the root."""
        nodes = []
        node = self
        while node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def descendants(self) -> list[Node]:
        """All below it, children before their parents."""
        nodes: list[Node] = []
        left = [self]
        while left:
            children = left.pop().children.values()
            nodes.extend(children)
            left.extend(children)
        return nodes[::-1]


def attach(parent: Node, tokens: bytes, block: int) -> Node:
    """A new child."""
    node = Node(parent, tokens, parent.depth + 1, block)
    parent.children[tokens] = node
    return node


def detach(node: Node) -> int:
    """Takes a leaf out of the tree; its block."""
    if node.parent is None or node.children:
        raise ValueError("only a leaf can be taken out of the tree")
    del node.parent.children[node.tokens]
    block, node.block = node.block, NO_BLOCK
    return block


def longest_start(parent: Node, tokens: bytes) -> tuple[Node | None, int]:
    """The child that has the most first tokens in common with these, and how many that is."""
    best, most = None, 0
    first = tokens[:TOKEN_BYTES]
    for child in parent.children.values():
        if child.tokens.startswith(first):
            same = common_tokens(child.tokens, tokens)
            if same > most:
                best, most = child, same
    return best, most


def common_tokens(one: bytes, other: bytes) -> int:
    """How many first tokens two texts share."""
    count = min(len(one), len(other)) // TOKEN_BYTES
    left = np.frombuffer(one, np.int32, count)
    right = np.frombuffer(other, np.int32, count)
    differs = left != right
    return int(differs.argmax()) if differs.any() else count
