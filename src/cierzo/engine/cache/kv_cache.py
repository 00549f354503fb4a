"""Keeps the KV cache: who has which block, what is computed already, what goes when room is needed.

A block is free, or a running sequence's own, or in the prefix tree. A sequence begins from the tree
(`start`), fills blocks of its own (`take`), hands over what is final (`publish`) and leaves all of
that in the tree when it stops (`release`). What is in the tree is never written to.

A running sequence pins the nodes on its path, so that they stay. What is on disk beyond them is
read into blocks of its own (`loading`) and published like what it computes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeAlias
from weakref import finalize

from cierzo.engine.cache.disk.jobs import Load
from cierzo.engine.cache.disk.tier import DiskTier
from cierzo.engine.cache.eviction import EvictionQueue, Worth, by_time, may_go
from cierzo.engine.cache.prefix_tree import TOKEN_BYTES, Node, attach, detach, longest_start
from cierzo.engine.sequence import Sequence

CopyBlock: TypeAlias = Callable[[int, int], None]  # from one block to another
CLOSE_SECONDS = 1.5  # that what is to be written has, once nobody needs the cache any more


class KvCache:
    """All blocks of the KV cache, numbered from 0."""

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        copy_block: CopyBlock,
        *,
        keep: bool = True,
        worth: Worth = by_time,
        disk: DiskTier | None = None,
    ) -> None:
        """Without `keep` nothing is left in the tree: each sequence computes all of its tokens.
        `disk` keeps what is left there on disk as well."""
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.num_cached = 0  # blocks in the tree
        self.num_evicted = 0
        self._num_pinned = 0  # of those in the tree
        self._copy_block = copy_block
        self._keep = keep
        self._worth = worth
        self.disk = disk if keep else None
        self._close_disk = finalize(self, disk.close, CLOSE_SECONDS) if disk is not None else None
        self._lent: set[int] = set()  # blocks that nobody has, and a thread may write to
        self._roots: dict[str, Node] = {}  # by salt
        # The block freed last is taken first: memory that was never needed is never touched.
        self._free = list(range(num_blocks - 1, -1, -1))
        self._evictable = EvictionQueue()

    @property
    def num_available(self) -> int:
        """Blocks that can be had: free, or in the tree and on no running sequence's path."""
        return len(self._free) + self.num_cached - self._num_pinned

    def blocks_for(self, num_positions: int) -> int:
        """Blocks that hold so many positions."""
        return -(-num_positions // self.block_size)

    # --- before a sequence runs -----------------------------------------------------------------

    def find(self, sequence: Sequence) -> Node:
        """The last node that a waiting sequence could begin from; also its `node`."""
        node = sequence.node or self._root(sequence.cache_salt)
        while not node.in_tree and node.parent is not None:
            node = node.parent
        deepest = sequence.most_cached // self.block_size
        while node.depth < deepest:
            child = node.children.get(self._tokens(sequence, node.depth))
            if child is None:
                break
            node = child
        sequence.node = node
        return node

    def num_missing(self, sequence: Sequence) -> int:
        """Available blocks that a sequence would still take to compute its tokens of now."""
        needed = self.blocks_for(sequence.num_tokens)
        if sequence.started:
            return needed - len(sequence.blocks)
        node = self.find(sequence)
        while node.pins == 0 and node.parent is not None:
            node = node.parent
        return needed - node.depth

    def is_awaited(self, running: Sequence, waiting: Sequence) -> bool:
        """Whether one sequence is about to compute, or to read from disk, the block that the other
        would begin with."""
        if (running.num_pending <= 1 and not running.loading) or not self._keeps(running):
            return False
        node = self.find(waiting)
        end = (node.depth + 1) * self.block_size
        return (
            running.node is node
            and end <= min(waiting.most_cached, running.num_tokens)
            and self._tokens(running, node.depth) == self._tokens(waiting, node.depth)
        )

    # --- while it runs --------------------------------------------------------------------------

    def start(self, sequence: Sequence) -> None:
        """Begins a sequence with what is computed of it."""
        node = self.find(sequence)
        sequence.started = True
        sequence.blocks = []
        for step in node.path():
            self._pin(step)
            sequence.blocks.append(step.block)
        sequence.num_computed = node.depth * self.block_size
        rest = min(sequence.most_cached - sequence.num_computed, self.block_size)
        tokens = self._tokens(sequence, node.depth)[: max(rest, 0) * TOKEN_BYTES]
        child, same = longest_start(node, tokens)
        if self._load(sequence, node, same):
            return
        if child is not None:
            self._start_within_block(sequence, child, same)
        self._note_cached(sequence)

    def take(self) -> int | None:
        """A block to write to, a free one or else the one worth least; None if all are needed."""
        if self._free:
            return self._free.pop()
        node = self._least()
        if node is None:
            return None
        self.num_evicted += 1
        return self._detach(node)

    def take_free(self) -> int | None:
        """A block that nobody has to give up; None if there is none."""
        return self._free.pop() if self._free else None

    def publish(self, sequence: Sequence) -> None:
        """Puts a running sequence's blocks that are full and final into the tree."""
        if not self._keeps(sequence):
            return
        node = self._last(sequence)
        blocks = sequence.blocks
        while (node.depth + 1) * self.block_size <= sequence.num_final:
            index = node.depth
            tokens = self._tokens(sequence, index)
            child = node.children.get(tokens)
            if child is None:
                child = self._attach(node, tokens, blocks[index])
            else:  # somebody was first, with the same bits
                self._free.append(blocks[index])
                if blocks is sequence.blocks:
                    blocks = blocks.copy()  # a new list, or the step's tables would not change
                blocks[index] = child.block
            self._pin(child)
            node = child
        sequence.node, sequence.blocks = node, blocks

    # --- when it stops --------------------------------------------------------------------------

    def release(self, sequence: Sequence) -> None:
        """Takes all blocks back; the sequence stops for good, or may start again."""
        if not sequence.started:
            return
        self._cancel_load(sequence)
        self.publish(sequence)
        node = self._last(sequence)
        in_tail = sequence.num_final - node.depth * self.block_size
        left = node
        if self._keeps(sequence) and in_tail > 0:
            tokens = self._tokens(sequence, node.depth)[: in_tail * TOKEN_BYTES]
            if not any(child.startswith(tokens) for child in node.children):
                left = self._attach(node, tokens, sequence.blocks.pop(node.depth))
                self._leave(left, sequence)
        if self.disk is not None and sequence.retain:
            self.disk.offer(left.path(), self._root(sequence.cache_salt).name)
        self._stop(sequence)

    def discard(self, sequence: Sequence) -> None:
        """Takes all blocks back, and leaves nothing in the tree that no other sequence needs."""
        if not sequence.started:
            return
        self._cancel_load(sequence)
        node = self._last(sequence)
        self._stop(sequence)
        while node.pins == 0 and node.parent is not None:
            parent = node.parent
            for lost in (*node.descendants(), node):
                if self.disk is not None:
                    self.disk.erase(lost)
                self._free.append(self._detach(lost))
            node = parent

    def clear(self, salt: str) -> int:
        """Forgets what is cached under a salt and no running sequence needs. How many tokens."""
        root = self._root(salt)
        nodes = root.descendants()
        num_tokens = self.disk.erase_root(root.name, nodes) if self.disk is not None else 0
        for node in nodes:
            if node.pins == 0:
                num_tokens += node.num_tokens
                self._free.append(self._detach(node))
        return num_tokens

    def collect(self) -> None:
        """Notes what the disk has done meanwhile: who waited for it goes on."""
        if self.disk is not None:
            for load in self.disk.collect():
                self._loaded(load)

    def close(self) -> None:
        """Ends the disk tier, once what is to be written is, or after a while."""
        if self._close_disk is not None:
            self._close_disk()

    @property
    def waits_for_disk(self) -> bool:
        """Whether any sequence waits for what is read, or any block for being given back."""
        return self.disk is not None and self.disk.is_loading

    def num_freed_by(self, sequences: Iterable[Sequence]) -> int:
        """Blocks that would be available, besides those that are, if these stopped."""
        own = 0
        through: Counter[Node] = Counter()
        for sequence in sequences:
            path = self._last(sequence).path()
            own += len(sequence.blocks) - len(path)
            through.update(path)
        return own + sum(node.pins == number for node, number in through.items())

    # --- the books ------------------------------------------------------------------------------

    def roots(self) -> Iterable[Node]:
        """The roots of the tree, one for each salt."""
        return self._roots.values()

    def check(self, started: Iterable[Sequence]) -> None:
        """Raises AssertionError unless each block is free, cached, or one sequence's, exactly once.

        For tests. `started` are all sequences that hold blocks.
        """
        nodes = [node for root in self._roots.values() for node in root.descendants()]
        own: list[int] = []
        pins: Counter[Node] = Counter()
        for sequence in started:
            path = self._last(sequence).path()
            assert [node.block for node in path] == sequence.blocks[: len(path)]
            own += sequence.blocks[len(path) :]
            pins.update(path)
        blocks = [*self._free, *self._lent, *own, *(node.block for node in nodes)]
        assert sorted(blocks) == list(range(self.num_blocks))
        assert all(node.pins == pins[node] for node in nodes)
        assert self.num_cached == len(nodes)
        assert self._num_pinned == sum(node.pins > 0 for node in nodes)
        assert all(node.num_tokens == self.block_size or not node.children for node in nodes)
        assert self._evictable.leaves() == {node for node in nodes if may_go(node)}

    def _keeps(self, sequence: Sequence) -> bool:
        """Whether what it computes is left for others."""
        return self._keep and sequence.retain

    def _root(self, salt: str) -> Node:
        root = self._roots.get(salt)
        if root is None:
            root = self._roots[salt] = Node(None, b"", 0)
            root.name = self.disk.root_name(salt) if self.disk is not None else b""
        return root

    def _last(self, sequence: Sequence) -> Node:
        """The last node on the path of a sequence that has started."""
        if sequence.node is None:
            raise ValueError(f"sequence {sequence.request_id!r} has not started")
        return sequence.node

    def _tokens(self, sequence: Sequence, index: int) -> bytes:
        """The tokens of one block of a sequence."""
        first = index * self.block_size
        return sequence.tokens[first : first + self.block_size].tobytes()

    def _least(self) -> Node | None:
        """The leaf that goes; while others may, none that is just being written to disk."""
        node = self._evictable.pop()
        if self.disk is None or node is None or self.disk.is_written(node):
            return node
        unwritten = [node]
        while (node := self._evictable.pop()) is not None and not self.disk.is_written(node):
            unwritten.append(node)
        if node is None:
            node = unwritten.pop(0)
        for leaf in unwritten:
            self._evictable.push(leaf)
        return node

    def _start_within_block(self, sequence: Sequence, child: Node, num_tokens: int) -> None:
        """Copies a node that has the next tokens, so many of them, and goes on within it."""
        child.pins += 1  # lest its block be the one that is taken
        block = self.take()
        child.pins -= 1
        if may_go(child):
            self._evictable.push(child)
        if block is not None:
            self._copy_block(child.block, block)
            sequence.blocks.append(block)
            sequence.num_computed += num_tokens

    def _note_cached(self, sequence: Sequence) -> None:
        if sequence.num_cached is None:
            sequence.num_cached = sequence.num_computed

    def _load(self, sequence: Sequence, node: Node, in_memory: int) -> bool:
        """Starts reading what is on disk after a node, unless that is too little to be worth it."""
        if self.disk is None:
            return False
        slots, num_tokens = self.disk.find(node, sequence, in_memory)
        blocks: list[int] = []
        while len(blocks) < len(slots) and (block := self.take()) is not None:
            blocks.append(block)
        if not blocks:
            return False
        sequence.blocks.extend(blocks)
        sequence.loading = sequence.held = True
        self.disk.load(sequence, slots[: len(blocks)], blocks, num_tokens)
        return True

    def _loaded(self, load: Load) -> None:
        """Notes what was read for a sequence, as if it had computed that."""
        if load.cancelled:
            self._lent.difference_update(load.blocks)
            self._free.extend(load.blocks)
            return
        sequence = load.sequence
        sequence.loading = sequence.held = False
        sequence.num_computed += min(load.num_tokens, load.num_loaded * self.block_size)
        self._note_cached(sequence)
        self.publish(sequence)

    def _cancel_load(self, sequence: Sequence) -> None:
        """A sequence that waits for the disk stops. The thread may be writing to its blocks."""
        if self.disk is not None and sequence.loading:
            sequence.loading = sequence.held = False
            self.disk.cancel(sequence)
            depth = self._last(sequence).depth
            self._lent.update(sequence.blocks[depth:])
            del sequence.blocks[depth:]

    def _attach(self, parent: Node, tokens: bytes, block: int) -> Node:
        """Adds a node. Tails that are a beginning of it have nothing that it has not."""
        for other in list(parent.children.values()):
            if may_go(other) and tokens.startswith(other.tokens):
                self._free.append(self._detach(other))
        self.num_cached += 1
        return attach(parent, tokens, block)

    def _detach(self, leaf: Node) -> int:
        """Removes a leaf that no running sequence needs; its block. Its parent may be the next."""
        parent = leaf.parent
        if self.disk is not None:
            self.disk.forget(leaf)
        block = detach(leaf)
        self.num_cached -= 1
        if parent is not None and may_go(parent):
            self._evictable.push(parent)
        return block

    def _pin(self, node: Node) -> None:
        node.pins += 1
        self._num_pinned += node.pins == 1

    def _stop(self, sequence: Sequence) -> None:
        """Frees the blocks that are a sequence's own, last first, and unpins its path."""
        path = self._last(sequence).path()
        self._free.extend(reversed(sequence.blocks[len(path) :]))
        for node in reversed(path):
            node.pins -= 1
            if node.pins == 0:
                self._num_pinned -= 1
                self._leave(node, sequence)
        sequence.started = False
        sequence.blocks = []
        sequence.forget_computed()
        self._evictable.compact(self.num_cached)

    def _leave(self, node: Node, sequence: Sequence) -> None:
        """No running sequence needs the node any more."""
        node.worth = self._worth(node, sequence)
        if may_go(node):
            self._evictable.push(node)
