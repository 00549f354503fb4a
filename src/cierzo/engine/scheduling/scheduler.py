"""Which tokens the next step computes: half for who came first, half for who is soonest done.

Each step takes one token of every decoding sequence, then spends its budget on chunks of prompts.
Half of that goes to those with the least left to do, the other half, and what the first half
leaves, to those who came first. So a small prompt does not wait for the whole of a large one, nor a
large one for a stream of small ones: each is read after at most twice what it would take if all
went by age, and twice of what it would take if all went by size. Of equals, the one that came first
is read first. What is halved is time, as far as it is known, since a token far into a long prompt
takes as much of it as many at the beginning of a short one.

What either side had more than its half is the other's later, up to a few steps' worth. So one that
came while the oldest had everything, and waited for a step to end, gets that much at once.

What is cached of a sequence is not computed again. If a running one is about to compute what a
waiting one would begin with, that one waits for it.

When blocks run out, one that came later gives all of its own back and starts again later: the one
that is cheapest to bring back. So the oldest can always go on, and in time each is the oldest.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from operator import attrgetter

from cierzo.engine.cache.kv_cache import KvCache
from cierzo.engine.scheduling.admission import is_short, longest_admissible, placement_order
from cierzo.engine.scheduling.prompt_budget import PromptBudget
from cierzo.engine.scheduling.thrift import Thrift
from cierzo.engine.sequence import Sequence

# How much of an answer counts for what is left to do. How long it gets nobody knows, but one that
# may have a few tokens only is the sooner done.
ANSWER_TOKENS = 64

VICTIMS = 8  # of the youngest are looked at when one must go
MOST_AHEAD = 4  # steps' budgets that one side may owe to the other

_by_age = attrgetter("arrival")


@dataclass(slots=True)
class Chunk:
    """Consecutive tokens of one sequence, and for which of them logits are wanted.

    The wanted rows are the last ones, from position `logits_from` to the chunk's end: none in the
    middle of a prompt, one to sample the next token, several for log-probabilities of a prompt
    and to verify a draft. The last `num_draft` tokens are not the sequence's own (yet).
    """

    sequence: Sequence
    start: int
    count: int
    logits_from: int
    num_draft: int = 0

    @property
    def end(self) -> int:
        """The position after the last."""
        return self.start + self.count

    @property
    def own_end(self) -> int:
        """The position after the last of the sequence's own tokens."""
        return self.start + self.count - self.num_draft

    @property
    def num_logits(self) -> int:
        """Rows of logits wanted."""
        return self.start + self.count - self.logits_from


@dataclass(slots=True)
class _Share:
    """What is left of a part of a step."""

    cost: float
    tokens: int
    rows: int  # of logits

    @property
    def spent(self) -> bool:
        return self.cost <= 0 or self.tokens <= 0 or self.rows <= 0


class Scheduler:
    """Holds every unfinished sequence, running or waiting, each of the two in order of arrival."""

    def __init__(
        self,
        cache: KvCache,
        *,
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
        self.cache = cache
        self.max_batch_tokens = max_batch_tokens
        self.max_batch_sequences = max_batch_sequences
        self.max_logits_rows = max_logits_rows
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self.num_preemptions = 0
        self._num_added = 0
        self._plan: dict[Sequence, Chunk] = {}  # the step that is being put together
        self._budget = PromptBudget(1)  # and what it may spend on prompts
        self._oldest_ahead = 0.0  # cost that the oldest had more than its half
        self._thrift = Thrift(cache)

    def add(self, sequence: Sequence) -> None:
        """Puts a sequence at the end of the queue.

        Raises ValueError if it would not fit even alone.
        """
        needed, num_blocks = self.cache.blocks_for(sequence.max_len), self.cache.num_blocks
        if needed > num_blocks:
            raise ValueError(
                f"{sequence.max_len} tokens need {needed} cache blocks, but there are {num_blocks}"
            )
        sequence.arrival = self._num_added
        self._num_added += 1
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence, *, failed: bool = False) -> None:
        """Forgets a sequence, finished or not. Of one that `failed` nothing stays in the cache."""
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
            self._thrift.forget(sequence)
        if failed:
            self.cache.discard(sequence)
        else:
            self.cache.release(sequence)

    def schedule(self, budget: PromptBudget) -> list[Chunk]:
        """The chunks of the next step; empty only when there is no sequence that is not held.

        The budget bounds what prompts cost, to keep the step short; a token of them it always
        affords. Decoding sequences come first in the result.
        """
        self._plan, self._budget = {}, budget
        self._plan_decodes()
        if self.waiting or len(self._plan) < len(self.running):
            self._plan_prompts()
        chunks = list(self._plan.values())
        self._thrift.earn(sum(chunk.count for chunk in chunks))
        return chunks

    def _plan_decodes(self) -> None:
        """One token of each sequence that has just one to compute.

        Where a constraint forced several, they share what is left with the prompts.
        """
        singles = [sequence for sequence in self.running if sequence.num_pending == 1]
        before = self.num_preemptions
        for sequence in placement_order(singles, self.max_batch_sequences):
            if len(self._plan) == self.max_batch_sequences:
                break
            if self.num_preemptions > before and sequence not in self.running:
                continue  # an older one has taken its blocks
            position = sequence.num_computed
            if position < len(sequence.blocks) * self.cache.block_size or self._grow(
                sequence, position + 1
            ):
                num_draft = self._room_for_draft(sequence)
                self._plan[sequence] = Chunk(sequence, position, 1 + num_draft, position, num_draft)

    def _room_for_draft(self, sequence: Sequence) -> int:
        """How much of its draft can be computed. It takes blocks that nobody has to give up."""
        wanted, sequence.num_draft = sequence.num_draft, 0
        while wanted > 0:
            missing = self.cache.blocks_for(sequence.num_tokens + wanted) - len(sequence.blocks)
            if missing <= 0:
                break
            block = self.cache.take_free()
            if block is None:
                return len(sequence.blocks) * self.cache.block_size - sequence.num_tokens
            sequence.blocks.append(block)
        return wanted

    def _plan_prompts(self) -> None:
        """Shares what is left of the step between the shortest and the oldest."""
        decodes = sum(chunk.count for chunk in self._plan.values())
        tokens, rows = self.max_batch_tokens - decodes, self.max_logits_rows - decodes
        reading = (s for s in self.running if s.num_pending > 1)
        oldest = sorted([*reading, *self._ready()], key=_by_age)
        cost = self._budget.cost
        ahead = min(max(self._oldest_ahead, -MOST_AHEAD * cost), MOST_AHEAD * cost)
        part = min(max((1 + ahead / cost) / 2, 0.0), 1.0)
        share = _Share(cost * part, int(tokens * part), int(rows * part))
        rest = _Share(cost - share.cost, tokens - share.tokens, rows - share.rows)
        had = self._fill(sorted(oldest, key=self._left_to_do), share)
        rest = _Share(rest.cost + share.cost, rest.tokens + share.tokens, rest.rows + share.rows)
        for sequence, more in self._fill(oldest, rest).items():
            had[sequence] = had.get(sequence, 0.0) + more
        if oldest:
            self._oldest_ahead = ahead + 2 * had.get(oldest[0], 0.0) - sum(had.values())

    def _fill(self, order: list[Sequence], share: _Share) -> dict[Sequence, float]:
        """Spends a share, in this order, on chunks or more of them. What each got, as cost."""
        had: dict[Sequence, float] = {}
        for sequence in order:
            if share.spent:
                break
            planned = self._plan.get(sequence)
            if planned is None and len(self._plan) >= self.max_batch_sequences:
                continue
            if sequence not in self.running and not self._admit(sequence):
                continue
            if sequence.loading:
                continue  # what is on disk of it is being read
            start, count, rows = sequence.num_computed, 0, 0
            if planned is not None:
                start, count, rows = planned.end, planned.count, planned.num_logits
            tokens = min(self._budget.affordable(share.cost, start), share.tokens)
            chunk = self._prompt_chunk(sequence, count + tokens, rows + share.rows)
            if chunk is not None:
                self._plan[sequence] = chunk
                had[sequence] = self._budget.of(start, chunk.count - count)
                share.cost -= had[sequence]
                share.tokens -= chunk.count - count
                share.rows -= chunk.num_logits - rows
        return had

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
            end = min(end, len(sequence.blocks) * self.cache.block_size)
            if end <= start:
                return None
            logits_from = min(logits_from, end)
        return Chunk(sequence, start, end - start, logits_from)

    def _ready(self) -> list[Sequence]:
        """Who waits for nothing but room, and may find a place."""
        longest = longest_admissible(self.running, self.max_batch_sequences)
        return [s for s in self.waiting if s.max_len <= longest and self._may_run(s)]

    def _may_run(self, sequence: Sequence) -> bool:
        """Whether it is not held, nor waits for what a running one is about to compute, nor for
        its turn to compute once more what was evicted."""
        if sequence.held or any(self.cache.is_awaited(other, sequence) for other in self.running):
            return False
        is_oldest = not self.running or sequence.arrival < self.running[0].arrival
        return is_oldest or self._thrift.allows(sequence)

    def _left_to_do(self, sequence: Sequence) -> tuple[float, int]:
        """What the shortest have least of; of equals the first come has. An answer under way, of
        which a grammar forced some tokens, is as good as done, and so is what is cached."""
        done = sequence.num_computed
        if not sequence.started:
            done = self.cache.find(sequence).depth * self.cache.block_size
        left = sequence.num_tokens - done
        if left > sequence.num_generated:
            left += min(sequence.max_len - sequence.num_tokens, ANSWER_TOKENS)
        return self._budget.of(done, left), sequence.arrival

    def _admit(self, sequence: Sequence) -> bool:
        """Lets a waiting sequence run, if there is a place and room for all of it."""
        first = next(filter(self._may_run, self.waiting), None)
        if first is None or not self._may_run(sequence):  # since another one was admitted
            return False
        if not self._has_room(sequence, first) or not self._has_place(sequence, first):
            return False
        self._thrift.spend(sequence)
        self.waiting.remove(sequence)
        insort(self.running, sequence, key=_by_age)
        self.cache.start(sequence)
        return True

    def _has_place(self, sequence: Sequence, first: Sequence) -> bool:
        """Whether it may join. Who would pass the first of the queue must leave it its place."""
        longest = longest_admissible(self.running, self.max_batch_sequences)
        if sequence is first or first.max_len > longest:
            return sequence.max_len <= longest
        left = longest_admissible([*self.running, sequence], self.max_batch_sequences)
        return sequence.max_len <= longest and first.max_len <= left

    def _has_room(self, sequence: Sequence, first: Sequence) -> bool:
        """Whether there are blocks for it, after those that are promised to running prompts.

        The first of the queue can have what the younger hold, so nobody who passed it keeps it
        waiting. Who would pass must leave it what it needs, unless it is short. And one block
        stays to spare for each running sequence, lest a long one be thrown out again at once.
        """
        missing = self.cache.num_missing
        needed, free = missing(sequence), self.cache.num_available
        if sequence is first:
            older = [s for s in self.running if s.arrival < sequence.arrival]
            needed += sum(map(missing, older)) + len(older)
            younger = self.running[len(older) :]
            return not older or needed <= free or needed <= free + self.cache.num_freed_by(younger)
        if not is_short(sequence):
            needed += missing(first) + len(self.running)
        return needed <= free and needed + sum(map(missing, self.running)) <= free

    def _grow(self, sequence: Sequence, num_positions: int) -> bool:
        """Gives a sequence blocks for so many positions, taking them from younger ones if it must.

        False when it is the youngest itself and there are too few: it has what there was, and
        goes on once an older one has finished.
        """
        missing = self.cache.blocks_for(num_positions) - len(sequence.blocks)
        for _ in range(missing):
            block = self.cache.take()
            while block is None:
                victim = self._victim(sequence)
                if victim is None:
                    return False
                self._preempt(victim)
                block = self.cache.take()
            sequence.blocks.append(block)
        return True

    def _victim(self, sequence: Sequence) -> Sequence | None:
        """Of those that came later than a sequence, who frees blocks and is cheapest to bring back.

        What others share stays, and costs nothing.
        """
        younger = self.running[self.running.index(sequence) + 1 :][-VICTIMS:]
        freed = {one: self.cache.num_freed_by([one]) for one in younger}
        useful = [one for one in younger if freed[one]] or younger
        return min(useful, key=lambda one: (freed[one], -one.arrival), default=None)

    def _preempt(self, sequence: Sequence) -> None:
        """Puts a running sequence back into the queue, without its blocks."""
        self.running.remove(sequence)
        self._plan.pop(sequence, None)
        self.cache.release(sequence)
        insort(self.waiting, sequence, key=_by_age)
        self.num_preemptions += 1
