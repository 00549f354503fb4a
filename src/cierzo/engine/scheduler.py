"""Which tokens the next step computes: first come, first served, and nobody waits for ever.

Each step takes one token of every decoding sequence, then fills what is left of its budget with
chunks of prompts, oldest first. When blocks run out, the youngest sequence gives all of its own
back and is computed again later; so the oldest can always go on, and in time each is the oldest.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from cierzo.engine.block_pool import BlockPool
from cierzo.engine.sequence import Sequence


@dataclass(slots=True)
class Chunk:
    """Consecutive tokens of one sequence, and for which of them logits are wanted.

    The wanted rows are the last ones, from position `logits_from` to the chunk's end: none in the
    middle of a prompt, one to sample the next token, several for log-probabilities of a prompt
    (and, in time, to verify draft tokens).
    """

    sequence: Sequence
    start: int
    count: int
    logits_from: int

    @property
    def end(self) -> int:
        """The position after the last."""
        return self.start + self.count

    @property
    def num_logits(self) -> int:
        """Rows of logits wanted."""
        return self.start + self.count - self.logits_from


class Scheduler:
    """Holds every unfinished sequence, running or waiting, in order of arrival.

    Everything in `running` arrived before everything in `waiting`.
    """

    def __init__(
        self,
        pool: BlockPool,
        *,
        block_size: int,
        max_batch_tokens: int,
        max_batch_sequences: int,
        max_logits_rows: int,
    ) -> None:
        """Bounds on a step: tokens, sequences, and rows of logits (at least one a sequence)."""
        if not 0 < max_batch_sequences <= min(max_batch_tokens, max_logits_rows):
            raise ValueError(
                f"max_batch_sequences ({max_batch_sequences}) must be from 1 to max_batch_tokens "
                f"({max_batch_tokens}): each running request takes a token of a step"
            )
        self.pool = pool
        self.block_size = block_size
        self.max_batch_tokens = max_batch_tokens
        self.max_batch_sequences = max_batch_sequences
        self.max_logits_rows = max_logits_rows
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self.num_preemptions = 0

    def add(self, sequence: Sequence) -> None:
        """Puts a sequence at the end of the queue.

        Raises ValueError if it would not fit even alone.
        """
        if self._blocks_for(sequence.max_len) > self.pool.num_blocks:
            raise ValueError(
                f"{sequence.max_len} tokens need {self._blocks_for(sequence.max_len)} cache "
                f"blocks, but there are {self.pool.num_blocks}"
            )
        self.waiting.append(sequence)

    def share_prompt(self, sequence: Sequence) -> None:
        """Gives the blocks of a prompt that has been computed to those who wait for it."""
        for follower in self.waiting:
            if follower.leader is sequence:
                self.follow(follower)

    def follow(self, sequence: Sequence) -> None:
        """Starts a sequence with its leader's blocks, up to the last one that is full.

        The prompt's last token is computed again in any case, for the logits after it.
        """
        leader, sequence.leader = sequence.leader, None
        if leader is None or sequence.blocks or sequence.wants_prompt_logprobs:
            return
        full = min((sequence.num_prompt - 1) // self.block_size, len(leader.blocks))
        sequence.blocks = leader.blocks[:full]
        for block in sequence.blocks:
            self.pool.share(block)
        sequence.num_computed = sequence.num_cached = full * self.block_size

    def remove(self, sequence: Sequence) -> None:
        """Forgets a sequence, finished or not, and frees its blocks."""
        for follower in self.waiting:
            if follower.leader is sequence:
                follower.leader = None
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        self._free(sequence)

    def schedule(self, prompt_budget: int) -> list[Chunk]:
        """The chunks of the next step; empty only when there is no sequence at all.

        `prompt_budget` (at least 1) bounds the tokens of prompts, to keep the step short.
        Decoding sequences come first in the result.
        """
        chunks = self._decodes()
        tokens = min(prompt_budget, self.max_batch_tokens - len(chunks))
        rows = self.max_logits_rows - len(chunks)
        for sequence in [s for s in self.running if s.num_pending > 1]:
            if tokens == 0 or rows == 0 or sequence not in self.running:  # just preempted
                return chunks
            chunk = self._prompt_chunk(sequence, tokens, rows)
            # Room may have come from sequences that were already in the plan.
            chunks = [c for c in chunks if c.sequence.blocks]
            if chunk is None:
                return chunks
            chunks.append(chunk)
            tokens -= chunk.count
            rows -= chunk.num_logits
        while tokens > 0 and rows > 0 and self._admit():
            chunk = self._prompt_chunk(self.running[-1], tokens, rows)
            if chunk is None:
                break
            chunks.append(chunk)
            tokens -= chunk.count
            rows -= chunk.num_logits
        return chunks

    def _decodes(self) -> list[Chunk]:
        """One token of each sequence that has just one to compute."""
        chunks = []
        index = 0
        while index < len(self.running):  # which gets shorter when blocks run out
            sequence = self.running[index]
            index += 1
            if sequence.num_pending != 1:
                continue
            position = sequence.num_computed
            if position < len(sequence.blocks) * self.block_size or self._grow(
                sequence, position + 1
            ):
                chunks.append(Chunk(sequence, position, 1, position))
        return chunks

    def _prompt_chunk(self, sequence: Sequence, tokens: int, rows: int) -> Chunk | None:
        """As much of what is pending as tokens, rows and blocks allow; None if no block does."""
        start = sequence.num_computed
        end = min(sequence.num_tokens, start + tokens)
        logits_from = end - 1 if end == sequence.num_tokens else end
        if sequence.wants_prompt_logprobs:
            logits_from = min(max(start, sequence.num_prompt_logprobs), end)
            end = min(end, logits_from + rows)
        if not self._grow(sequence, end):
            # Room for a part is better than none.
            end = min(end, len(sequence.blocks) * self.block_size)
            if end <= start:
                return None
            logits_from = min(logits_from, end)
        return Chunk(sequence, start, end - start, logits_from)

    def _admit(self) -> bool:
        """Moves the head of the queue to the running ones, if there is room for all of it.

        Room means blocks for its tokens after those that are promised to running prompts, and one
        to spare for each running sequence, lest the newcomer be thrown out again at once. Who
        follows another waits until that one's prompt is computed.
        """
        if not self.waiting or len(self.running) == self.max_batch_sequences:
            return False
        head = self.waiting[0]
        if head.leader is not None:
            return False
        promised = sum(self._blocks_for(s.num_tokens) - len(s.blocks) for s in self.running)
        needed = self._blocks_for(head.num_tokens) - len(head.blocks)
        if needed + promised + len(self.running) > self.pool.num_free and self.running:
            return False
        self.running.append(self.waiting.popleft())
        return True

    def _grow(self, sequence: Sequence, num_positions: int) -> bool:
        """Gives a sequence blocks for so many positions, taking them from younger ones if it must.

        False when it is the youngest itself and there are too few: it has what there was, and
        goes on once an older one has finished.
        """
        missing = self._blocks_for(num_positions) - len(sequence.blocks)
        for _ in range(missing):
            while self.pool.num_free == 0:
                if self._take_from_waiting():
                    continue
                youngest = self.running[-1]
                if youngest is sequence:
                    return False
                self._preempt(youngest)
            sequence.blocks.append(self.pool.take())
        return True

    def _take_from_waiting(self) -> bool:
        """Frees the blocks of the youngest that holds some without running; False for none."""
        for sequence in reversed(self.waiting):
            if sequence.blocks:
                self._free(sequence)
                sequence.num_computed = sequence.num_cached = 0
                return True
        return False

    def _preempt(self, sequence: Sequence) -> None:
        """Puts the youngest running sequence back to the head of the queue, without its blocks."""
        self.running.pop()
        self._free(sequence)
        sequence.num_computed = 0
        self.waiting.appendleft(sequence)
        self.num_preemptions += 1

    def _free(self, sequence: Sequence) -> None:
        self.pool.release(sequence.blocks)
        sequence.blocks = []

    def _blocks_for(self, num_positions: int) -> int:
        return -(-num_positions // self.block_size)
