"""What holds for every step, whatever arrives, leaves, or runs short."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cierzo.engine.scheduling import admission
from cierzo.engine.scheduling.batch_builder import BatchBuilder
from cierzo.engine.scheduling.prompt_budget import PromptBudget
from cierzo.engine.scheduling.scheduler import MOST_AHEAD, Chunk
from tests.engine.scheduling.steps import BLOCK, carry_out, drain, make, sequence


def test_decodes_come_first_and_prompts_fill_the_rest() -> None:
    scheduler = make(tokens=16)
    scheduler.add(sequence("a", 3))
    carry_out(scheduler, scheduler.schedule(PromptBudget(16)))
    scheduler.add(sequence("b", 40))
    chunks = scheduler.schedule(PromptBudget(16))
    assert [(c.sequence.request_id, c.start, c.count) for c in chunks] == [
        ("a", 3, 1),
        ("b", 0, 15),
    ]


def test_a_prompt_never_keeps_decodes_waiting() -> None:
    scheduler = make(tokens=8)
    scheduler.add(sequence("short", 2, answer=20))
    scheduler.add(sequence("long", 100))
    steps = 0
    short = scheduler.waiting[0]
    while short.num_tokens < short.max_len:
        carry_out(scheduler, scheduler.schedule(PromptBudget(8)))
        steps += 1
    assert steps == 20


def test_the_prompt_budget_bounds_prompts_only() -> None:
    scheduler = make(tokens=16)
    for name in "abc":
        scheduler.add(sequence(name, 1))
    carry_out(scheduler, scheduler.schedule(PromptBudget(16)))
    scheduler.add(sequence("d", 30))
    chunks = scheduler.schedule(PromptBudget(5))
    assert [c.count for c in chunks] == [1, 1, 1, 5]


def test_middle_of_a_prompt_asks_for_no_logits() -> None:
    scheduler = make(tokens=8)
    scheduler.add(sequence("a", 20))
    wanted = []
    for _ in range(3):
        chunks = scheduler.schedule(PromptBudget(8))
        wanted += [chunk.num_logits for chunk in chunks]
        carry_out(scheduler, chunks)
    assert wanted == [0, 0, 1]


def test_prompt_logprobs_ask_for_each_row_once_within_the_bound_on_rows() -> None:
    scheduler = make(tokens=16, rows=4)
    seq = sequence("a", 10, prompt_logprobs=0)
    scheduler.add(seq)
    rows: list[int] = []
    while seq.num_generated == 0:
        chunks = scheduler.schedule(PromptBudget(16))
        assert sum(c.num_logits for c in chunks) <= 4
        rows += [p for c in chunks for p in range(c.logits_from, c.end)]
        carry_out(scheduler, chunks)
    assert rows == list(range(10))


def test_the_youngest_is_preempted_and_comes_back_in_its_place() -> None:
    scheduler = make(blocks=6, tokens=32)
    for name in "abc":
        scheduler.add(sequence(name, 8, answer=8))
    assert drain(scheduler) == ["a", "b", "c"]
    assert scheduler.num_preemptions > 0
    assert scheduler.cache.num_available == 6


def test_an_older_prompt_takes_blocks_from_a_younger_answer() -> None:
    scheduler = make(blocks=8, tokens=4)
    old = sequence("old", 16, answer=12)
    young = sequence("young", 1, answer=15)
    scheduler.add(old)
    while old.num_generated == 0:
        carry_out(scheduler, scheduler.schedule(PromptBudget(4)))
    scheduler.add(young)
    assert drain(scheduler) == ["old", "young"]
    assert scheduler.num_preemptions > 0


def test_what_can_never_fit_is_refused_when_it_is_added() -> None:
    scheduler = make(blocks=3)
    scheduler.add(sequence("fits", 8, answer=4))
    with pytest.raises(ValueError, match="13 tokens need 4 cache blocks, but there are 3"):
        scheduler.add(sequence("does not", 9, answer=4))


def test_more_sequences_than_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="max_batch_sequences"):
        make(tokens=3, sequences=4)


Arrival = tuple[int, int, bool]
ARRIVALS = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 12), st.booleans()), min_size=1, max_size=12
)


@settings(max_examples=300, deadline=None)
@given(
    arrivals=ARRIVALS,
    pauses=st.lists(st.integers(0, 3), min_size=12, max_size=12),
    aborts=st.sets(st.integers(0, 11), max_size=4),
    spare=st.integers(0, 20),
    places=st.sampled_from([1, 4, 8]),
    tokens=st.integers(8, 24),
    budget=st.integers(1, 24),
    rows=st.integers(8, 12),
    short=st.integers(0, 52),
)
def test_invariants(
    *,
    arrivals: list[Arrival],
    pauses: list[int],
    aborts: set[int],
    spare: int,
    places: int,
    tokens: int,
    budget: int,
    rows: int,
    short: int,
) -> None:
    longest = max(prompt + answer for prompt, answer, _ in arrivals)
    num_blocks = -(-longest // BLOCK) + spare
    scheduler = make(blocks=num_blocks, tokens=tokens, sequences=places, rows=rows)
    builder = BatchBuilder(
        block_size=BLOCK, max_batch_tokens=tokens, max_batch_sequences=places, max_model_len=64
    )
    queue = [
        sequence(str(i), prompt, answer, prompt_logprobs=0 if explain else None)
        for i, (prompt, answer, explain) in enumerate(arrivals)
    ]
    ended: list[str] = []
    pending = list(zip(queue, pauses, strict=False))
    passed_over: list[str] = []  # the oldest, of the last steps that it was no part of
    # Every step computes something, and preemption is bounded by how much older ones have to do.
    for step in range(5_000):
        while pending and (pending[0][1] <= step % 4 or not scheduler.running):
            scheduler.add(pending.pop(0)[0])
        if step in aborts and scheduler.running:
            victim = scheduler.running[step % len(scheduler.running)]
            scheduler.remove(victim)
            ended.append(victim.request_id)
        known = {*scheduler.running, *scheduler.waiting}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(admission, "SHORT_TOKENS", short)
            chunks = scheduler.schedule(PromptBudget(budget))
        if not chunks:
            assert not known
            if not pending:
                break
            continue
        # Nobody is lost, and both lists are in order of arrival.
        assert {*scheduler.running, *scheduler.waiting} == known
        assert len(scheduler.running) + len(scheduler.waiting) == len(known)
        for order in (scheduler.running, scheduler.waiting):
            assert order == sorted(order, key=lambda seq: int(seq.request_id))
        # The step keeps its bounds, and the oldest is left out no longer than it may owe.
        now = {c.sequence.request_id for c in chunks}
        assert len(now) == len(chunks) <= len(scheduler.running) <= places
        assert sum(c.count for c in chunks) <= tokens
        assert sum(c.num_logits for c in chunks) <= rows
        oldest = min(known, key=lambda seq: int(seq.request_id)).request_id
        passed_over = [] if oldest in now else [*passed_over, oldest]
        assert passed_over.count(oldest) <= MOST_AHEAD + 1
        # Blocks: held by one sequence, enough for what is computed, none lost.
        held = [block for seq in scheduler.running for block in seq.blocks]
        assert len(set(held)) == len(held)
        assert len(held) + scheduler.cache.num_available == num_blocks
        assert all(not seq.blocks and seq.num_computed == 0 for seq in scheduler.waiting)
        for chunk in chunks:
            assert chunk.sequence in scheduler.running
            assert chunk.start == chunk.sequence.num_computed
            assert 0 < chunk.count <= chunk.sequence.num_pending
            assert len(chunk.sequence.blocks) * BLOCK >= chunk.end
            assert chunk.start <= chunk.logits_from <= chunk.end
        check_batch(builder, chunks)
        ended += [seq.request_id for seq in carry_out(scheduler, chunks)]
    assert sorted(ended, key=int) == [str(i) for i in range(len(queue))]
    assert scheduler.cache.num_available == num_blocks


def check_batch(builder: BatchBuilder, chunks: list[Chunk]) -> None:
    """The arrays say what the chunks say, whatever the rows of the tables held before."""
    batch = builder.build(chunks)
    rows: list[int] = []
    for i, chunk in enumerate(chunks):
        begin, end = batch.query_start[i : i + 2]
        assert end - begin == chunk.count
        expected = chunk.sequence.tokens[chunk.start : chunk.end]
        assert np.array_equal(batch.token_ids[begin:end], expected)
        assert np.array_equal(batch.positions[begin:end], np.arange(chunk.start, chunk.end))
        assert batch.context_len[i] == chunk.end
        table = [block for block in batch.block_tables[i].tolist() if block != -1]
        assert table == chunk.sequence.blocks
        rows += range(end - chunk.num_logits, end)
    assert batch.query_start[len(chunks)] == len(batch.token_ids)
    assert batch.logits_rows.tolist() == rows
    for array in vars(batch).values():
        assert array.flags.c_contiguous
        assert array.dtype == np.int32
