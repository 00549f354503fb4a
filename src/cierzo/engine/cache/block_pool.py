"""The blocks of the KV cache, and the nodes of the prefix tree that some of them hold.

A block is free, lent to a thread, a running sequence's own, or a node's. Which node gives its block
up when none is free is `eviction.py`'s to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from cierzo.engine.cache.disk.tier import DiskTier
from cierzo.engine.cache.evicted import Evicted
from cierzo.engine.cache.eviction import EvictionQueue, goes_first, may_go
from cierzo.engine.cache.prefix_tree import Node, attach, detach
from cierzo.engine.cache.sessions import Sessions


class BlockPool:
    """All blocks, numbered from 0."""

    def __init__(
        self,
        num_blocks: int,
        disk: DiskTier | None,
        clock: Callable[[], float],
    ) -> None:
        """`clock` is that of the worth of nodes."""
        self.num_blocks = num_blocks
        self.num_cached = 0  # blocks in the tree
        self.num_evicted = 0
        self._num_pinned = 0  # of those in the tree
        self.disk = disk
        self._lent: set[int] = set()  # blocks that nobody has, and a thread may write to
        self._roots: dict[str, Node] = {}  # by salt
        # The block freed last is taken first: memory that was never needed is never touched.
        self._free = list(range(num_blocks - 1, -1, -1))
        self._evictable = EvictionQueue()
        self._on_disk = EvictionQueue()  # those of them that can be read again, and some that could
        self._clock = clock
        self.sessions = Sessions()
        self.evicted = Evicted(2 * num_blocks)

    @property
    def num_available(self) -> int:
        """Blocks that can be had: free, or in the tree and on no running sequence's path."""
        return len(self._free) + self.num_cached - self._num_pinned

    # --- blocks ---------------------------------------------------------------------------------

    def take(self) -> int | None:
        """A block to write to, a free one or else the one worth least; None if all are needed."""
        if self._free:
            return self._free.pop()
        node = self._least()
        if node is None:
            return None
        self.num_evicted += 1
        self.evicted.note(node)
        return self._detach(node)

    def take_free(self) -> int | None:
        """A block that nobody has to give up; None if there is none."""
        return self._free.pop() if self._free else None

    def free(self, blocks: Iterable[int]) -> None:
        """Nobody needs these any more; the last one is taken first."""
        self._free.extend(blocks)

    def lend(self, blocks: Iterable[int]) -> None:
        """Nobody needs these any more, but a thread may still write to them."""
        self._lent.update(blocks)

    def end_loan(self, blocks: list[int]) -> None:
        """The thread has let go of them."""
        self._lent.difference_update(blocks)
        self._free.extend(blocks)

    # --- nodes ----------------------------------------------------------------------------------

    def roots(self) -> Iterable[Node]:
        """The roots of the tree, one for each salt."""
        return self._roots.values()

    def root(self, salt: str) -> Node:
        """The root of a salt's tree."""
        root = self._roots.get(salt)
        if root is None:
            root = self._roots[salt] = Node(None, b"", 0, key=hash(salt))
            root.name = self.disk.root_name(salt) if self.disk is not None else b""
        return root

    def attach(self, parent: Node, tokens: bytes, block: int) -> Node:
        """Adds a node. Tails that are a beginning of it have nothing that it has not."""
        for other in list(parent.children.values()):
            if may_go(other) and tokens.startswith(other.tokens):
                self.drop(other)
        self.num_cached += 1
        return attach(parent, tokens, block)

    def drop(self, leaf: Node) -> None:
        """Removes a leaf that no running sequence needs."""
        self._free.append(self._detach(leaf))

    def pin(self, node: Node) -> None:
        """One more running sequence needs the node."""
        node.pins += 1
        self._num_pinned += node.pins == 1

    def unpin(self, node: Node) -> bool:
        """A running sequence does not need it any more; whether nobody does. If so, `leave`."""
        node.pins -= 1
        self._num_pinned -= node.pins == 0
        return node.pins == 0

    def leave(self, node: Node, worth: float) -> None:
        """No running sequence needs the node any more."""
        node.worth = worth
        self.offer(node)

    def offer(self, node: Node) -> None:
        """The node may be one that can go."""
        if may_go(node):
            self._evictable.push(node)
            if self.disk is not None and self.disk.holds(node):
                self._on_disk.push(node)

    def note_saved(self, node: Node) -> None:
        """The node is on disk now."""
        if may_go(node):
            self._on_disk.push(node)

    def compact(self) -> None:
        """Forgets what is not true any more of which nodes can go."""
        self._evictable.compact(self.num_cached)
        self._on_disk.compact(self.num_cached)

    def _detach(self, leaf: Node) -> int:
        """Removes a leaf; its block. Its parent may be the next to go."""
        parent = leaf.parent
        if self.disk is not None:
            self.disk.forget(leaf)
        self.sessions.detach(leaf)
        block = detach(leaf)
        self.num_cached -= 1
        if parent is not None:
            self.offer(parent)
        return block

    def _least(self) -> Node | None:
        """The leaf that goes: the one worth least, unless it must be computed again and another
        one, which can be read, costs so much less. While others may, none that is just being
        written to disk."""
        disk, node = self.disk, self._evictable.first()
        if disk is None or node is None or disk.holds(node):
            return self._evictable.pop()
        if disk.num_blocks < self.num_blocks:  # what is on disk alone would soon be gone
            return self._least_written(disk)
        while (cheap := self._on_disk.first()) is not None and not disk.holds(cheap):
            self._on_disk.pop()
        if cheap is not None and goes_first(cheap, node, disk.share, self._clock()):
            return self._on_disk.pop()
        return self._least_written(disk)

    def _least_written(self, disk: DiskTier) -> Node | None:
        node = self._evictable.pop()
        if node is None or disk.is_written(node):
            return node
        unwritten = [node]
        while (node := self._evictable.pop()) is not None and not disk.is_written(node):
            unwritten.append(node)
        if node is None:
            node = unwritten.pop(0)
        for leaf in unwritten:
            self._evictable.push(leaf)
        return node

    def unused(self) -> list[int]:
        """Blocks whose memory nobody needs: those that are free, and first those are freed that can
        be read from disk again."""
        if self.disk is not None and self.disk.pays:
            for root in self._roots.values():
                for node in root.descendants():
                    if may_go(node) and self.disk.holds(node):
                        self.drop(node)
            self.compact()
        self._free.sort(reverse=True)  # so that blocks taken later lie side by side, on few pages
        return self._free.copy()

    # --- the books ------------------------------------------------------------------------------

    def check_blocks(self, own: list[int], pins: Counter[Node]) -> None:
        """Raises AssertionError unless each block is free, lent, a node's or a sequence's, exactly
        once. `own` are the sequences', `pins` what they need of the tree."""
        nodes = [node for root in self._roots.values() for node in root.descendants()]
        blocks = [*self._free, *self._lent, *own, *(node.block for node in nodes)]
        assert sorted(blocks) == list(range(self.num_blocks))
        assert all(node.pins == pins[node] for node in nodes)
        assert self.num_cached == len(nodes)
        assert self._num_pinned == sum(node.pins > 0 for node in nodes)
        self.sessions.check()
        assert self._evictable.leaves() == {node for node in nodes if may_go(node)}
