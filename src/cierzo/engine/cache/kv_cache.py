"""Keeps the KV cache: who has which block, what is computed already, what goes when room is needed.

A block is free, or a running sequence's own, or in the prefix tree. A sequence begins from the tree
(`start`), fills blocks of its own (`take`), hands over what is final (`publish`) and leaves all of
that in the tree when it stops (`release`). What is in the tree is never written to.

A running sequence pins the nodes on its path, so that they stay. What is on disk beyond them is
read into blocks of its own (`loading`) and published like what it computes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeAlias
from weakref import finalize

from cierzo.engine.cache.block_pool import BlockPool
from cierzo.engine.cache.disk.jobs import Load
from cierzo.engine.cache.disk.tier import DiskTier
from cierzo.engine.cache.eviction import REPLACED, Worth, by_time
from cierzo.engine.cache.prefix_tree import TOKEN_BYTES, Node, longest_start
from cierzo.engine.sequence import Sequence

CopyBlock: TypeAlias = Callable[[int, int], None]  # from one block to another
CLOSE_SECONDS = 1.5  # that what is to be written has, once nobody needs the cache any more


class KvCache(BlockPool):
    """All blocks of the KV cache, numbered from 0, and the sequences that use them."""

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        copy_block: CopyBlock,
        *,
        keep: bool = True,
        worth: Worth = by_time,
        clock: Callable[[], float] = time.monotonic,
        disk: DiskTier | None = None,
    ) -> None:
        """Without `keep` nothing is left in the tree: each sequence computes all of its tokens.
        `disk` keeps what is left there on disk as well."""
        super().__init__(num_blocks, disk if keep else None, clock)
        self.block_size = block_size
        self._copy_block = copy_block
        self._keep = keep
        self._worth = worth
        self._close_disk = finalize(self, disk.close, CLOSE_SECONDS) if disk is not None else None

    def blocks_for(self, num_positions: int) -> int:
        """Blocks that hold so many positions."""
        return -(-num_positions // self.block_size)

    # --- before a sequence runs -----------------------------------------------------------------

    def find(self, sequence: Sequence) -> Node:
        """The last node that a waiting sequence could begin from; also its `node`."""
        node = sequence.node or self.root(sequence.cache_salt)
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
        last = self.find(sequence)
        # From the last node that was pinned when this was asked before: not all of the path.
        node = sequence.pinned or last
        while node.pins == 0 and node.parent is not None:
            node = node.parent
        while node.depth < last.depth:
            child = node.children.get(self._tokens(sequence, node.depth))
            if child is None or child.pins == 0:
                break
            node = child
        sequence.pinned = node
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
        sequence.started, sequence.pinned = True, None
        sequence.blocks = []
        for step in node.path():
            self.pin(step)
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
                child = self.attach(node, tokens, blocks[index])
            else:  # somebody was first, with the same bits
                self.free([blocks[index]])
                if blocks is sequence.blocks:
                    blocks = blocks.copy()  # a new list, or the step's tables would not change
                blocks[index] = child.block
            self.pin(child)
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
                left = self.attach(node, tokens, sequence.blocks.pop(node.depth))
                self._leave(left, sequence)
        if self.disk is not None and sequence.retain:
            self.disk.offer(left.path(), self.root(sequence.cache_salt).name)
        self._stop(sequence)
        if sequence.session is not None and self._keeps(sequence):
            for replaced in self.sessions.leave(sequence.session, left.path()):
                self.leave(replaced, REPLACED)

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
                self.drop(lost)
            node = parent

    def clear(self, salt: str) -> int:
        """Forgets what is cached under a salt and no running sequence needs. How many tokens."""
        root = self.root(salt)
        nodes = root.descendants()
        num_tokens = self.disk.erase_root(root.name, nodes) if self.disk is not None else 0
        for node in nodes:
            if node.pins == 0:
                num_tokens += node.num_tokens
                self.drop(node)
        return num_tokens

    def collect(self) -> None:
        """Notes what the disk has done meanwhile: who waited for it goes on."""
        if self.disk is not None:
            for load in self.disk.collect(self.note_saved):
                self._loaded(load)
            for sequence in self.disk.overdue():
                self._cancel_load(sequence)
                self._note_cached(sequence)

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

    def check(self, started: Iterable[Sequence]) -> None:
        """Raises AssertionError unless each block is free, cached, or one sequence's, exactly once.

        For tests. `started` are all sequences that hold blocks.
        """
        own: list[int] = []
        pins: Counter[Node] = Counter()
        for sequence in started:
            path = self._last(sequence).path()
            assert [node.block for node in path] == sequence.blocks[: len(path)]
            own += sequence.blocks[len(path) :]
            pins.update(path)
        nodes = [node for root in self.roots() for node in root.descendants()]
        assert all(node.num_tokens == self.block_size or not node.children for node in nodes)
        self.check_blocks(own, pins)

    def _keeps(self, sequence: Sequence) -> bool:
        """Whether what it computes is left for others."""
        return self._keep and sequence.retain

    def _last(self, sequence: Sequence) -> Node:
        """The last node on the path of a sequence that has started."""
        if sequence.node is None:
            raise ValueError(f"sequence {sequence.request_id!r} has not started")
        return sequence.node

    def _tokens(self, sequence: Sequence, index: int) -> bytes:
        """The tokens of one block of a sequence."""
        first = index * self.block_size
        return sequence.tokens[first : first + self.block_size].tobytes()

    def _start_within_block(self, sequence: Sequence, child: Node, num_tokens: int) -> None:
        """Copies a node that has the next tokens, so many of them, and goes on within it."""
        child.pins += 1  # lest its block be the one that is taken
        block = self.take()
        child.pins -= 1
        self.offer(child)
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
            self.end_loan(load.blocks)
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
            self.lend(sequence.blocks[depth:])
            del sequence.blocks[depth:]

    def _stop(self, sequence: Sequence) -> None:
        """Frees the blocks that are a sequence's own, last first, and unpins its path."""
        path = self._last(sequence).path()
        self.free(reversed(sequence.blocks[len(path) :]))
        for node in reversed(path):
            if self.unpin(node):
                self._leave(node, sequence)
        sequence.started = False
        sequence.blocks = []
        sequence.forget_computed()
        self.compact()

    def _leave(self, node: Node, sequence: Sequence) -> None:
        """The sequence does not need the node any more, and nobody else does."""
        node.session = sequence.session
        self.leave(node, self._worth(node, sequence))
