"""The cache gives back what is computed, to the token, and never writes to what others may read."""

from __future__ import annotations

import random

import pytest

from cierzo.engine.cache.hints import Hints
from cierzo.engine.sequence import Sequence
from tests.engine.cache.memory import BLOCK, Memory, make
from tests.work.counting import lines_of

LONG = list(range(100, 130))  # 7 blocks and a half


@pytest.fixture
def memory() -> Memory:
    return Memory(64)


def test_a_prompt_that_was_read_is_not_read_again_but_for_its_last_token(memory: Memory) -> None:
    memory.run(LONG)
    again = memory.start(make(LONG))
    assert again.num_computed == again.num_cached == len(LONG) - 1


@pytest.mark.parametrize("length", range(1, len(LONG)))
def test_a_prompt_goes_on_where_it_leaves_another(memory: Memory, length: int) -> None:
    memory.run(LONG)
    other = memory.start(make([*LONG[:length], 7, 7, 7]))
    assert other.num_computed == length
    assert memory.compute(other)
    memory.verify(other)
    memory.verify(memory.start(make(LONG)))


def test_an_answer_is_found_in_the_next_prompt(memory: Memory) -> None:
    first = memory.start(make(LONG, answer=9))
    for token in range(9):
        assert memory.compute(first)
        memory.cache.publish(first)
        first.append(token)
    memory.cache.release(first)
    after = memory.start(make([*LONG, *range(9), 5, 5]))
    assert after.num_computed == len(LONG) + 8  # the last token of an answer is not computed


def test_a_longer_tail_takes_the_place_of_a_shorter_one(memory: Memory) -> None:
    for length in range(1, BLOCK + 2):
        memory.run(LONG[:length])
        memory.cache.check([])
    assert memory.cache.num_cached == 2  # a full block, and a tail of one token


def test_tenants_do_not_find_each_others(memory: Memory) -> None:
    memory.run(LONG, salt="one")
    assert memory.start(make(LONG, salt="other")).num_computed == 0
    assert memory.start(make(LONG, salt="one")).num_computed == len(LONG) - 1


def test_what_may_be_taken_back_is_not_found(memory: Memory) -> None:
    sequence = memory.start(make(LONG, answer=20))
    sequence.num_fixed = len(LONG)
    for token in range(12):
        assert memory.compute(sequence)
        memory.cache.publish(sequence)
        sequence.append(token)
    sequence.num_fixed += 6
    memory.cache.release(sequence)
    after = memory.start(make([*LONG, *range(12), 5]))
    assert after.num_computed == len(LONG) + 5  # the last one that is fixed may be computed again


def test_logprobs_of_a_prompt_are_computed(memory: Memory) -> None:
    memory.run(LONG)
    asked = memory.start(make(LONG, prompt_logprobs=0))
    assert asked.num_computed == 0
    memory.cache.release(asked)
    asked.num_prompt_logprobs = 10  # given out before it was preempted
    assert memory.start(asked).num_computed == 10


def test_what_was_found_counts_once(memory: Memory) -> None:
    """A sequence that is preempted finds its own blocks, which is no news to whoever asked."""
    sequence = memory.start(make(LONG))
    assert memory.compute(sequence)
    memory.cache.release(sequence)
    memory.start(sequence)
    assert sequence.num_computed == len(LONG) - 1
    assert sequence.num_cached == 0


def test_equal_blocks_are_kept_once(memory: Memory) -> None:
    one, other = memory.start(make(LONG)), memory.start(make(LONG))
    for sequence in (one, other):
        assert memory.compute(sequence)
    memory.cache.publish(one)
    shown = other.blocks
    memory.cache.publish(other)
    assert other.blocks is not shown  # the batch builder looks at that
    assert other.blocks[:7] == one.blocks[:7]
    memory.verify(other)
    memory.cache.check([one, other])


def test_the_least_recently_used_goes_first_from_its_end() -> None:
    memory = Memory(16)
    memory.run([1] * 30)
    memory.run([2] * 30)
    memory.run([3] * 20)  # takes 5 of the 8 blocks of the first
    memory.cache.check([])
    assert memory.cache.find(make([1] * 30)).depth == 3
    assert memory.cache.find(make([2] * 30)).depth == 7


def test_who_waits_for_a_tool_stays_longer_than_who_waits_for_a_person() -> None:
    memory = Memory(16)
    calling = memory.start(make([1] * 30))
    assert memory.compute(calling)
    calling.calls_tool = True
    memory.cache.release(calling)
    memory.run([2] * 30)
    memory.run([3] * 20)
    assert memory.cache.find(make([1] * 30)).depth == 7
    assert memory.cache.find(make([2] * 30)).depth == 3


def test_what_a_running_sequence_needs_stays() -> None:
    memory = Memory(9)
    running = memory.start(make(LONG))
    assert memory.compute(running)
    memory.cache.publish(running)
    other = memory.start(make([7] * 30))
    assert not memory.compute(other)
    memory.verify(running)
    memory.cache.check([running, other])
    assert memory.cache.num_freed_by([running, other]) == 9
    assert memory.cache.num_missing(other) == 7


def test_a_failed_computation_leaves_nothing(memory: Memory) -> None:
    memory.run(LONG[:8])
    neighbour = memory.start(make([*LONG[:8], 9]))
    failed = memory.start(make(LONG))
    assert memory.compute(failed)
    memory.cache.publish(failed)
    memory.cache.discard(failed)
    memory.cache.check([neighbour])
    assert memory.start(make(LONG)).num_computed == 8


def test_without_keeping_nothing_is_found() -> None:
    memory = Memory(16, keep=False)
    memory.run(LONG)
    assert memory.cache.num_cached == 0
    assert memory.start(make(LONG)).num_computed == 0


def test_what_is_not_to_be_kept_is_not_found(memory: Memory) -> None:
    private = make(LONG)
    private.retain = False
    memory.start(private)
    assert memory.compute(private)
    memory.cache.publish(private)
    memory.cache.release(private)
    memory.cache.check([])
    assert memory.cache.num_cached == 0


def test_clear_frees_what_nobody_needs(memory: Memory) -> None:
    memory.run([5] * 40)
    running = memory.start(make(LONG))
    assert memory.compute(running)
    memory.cache.publish(running)
    memory.run([5] * 40, salt="other")
    assert memory.cache.clear("") == 40
    memory.cache.check([running])
    assert memory.cache.num_cached == 7 + 10
    assert memory.cache.clear("other") == 40


@pytest.mark.parametrize("seed", range(8))
def test_any_order_of_things_keeps_the_books_and_the_bits(seed: int) -> None:
    rng = random.Random(seed)
    memory = Memory(24)
    texts = [[rng.randrange(3) for _ in range(40)] for _ in range(3)]
    running: list[Sequence] = []
    waiting: list[Sequence] = []
    for _ in range(2_000):
        action = rng.randrange(9)
        if action <= 1 and len(running) < 4:
            text = rng.choice(texts)[: rng.randrange(1, 40)]
            text = text + [rng.randrange(3) for _ in range(rng.randrange(8))]
            hints = Hints(rng.choice((b"", b"one", b"other")), rng.choice((0, 3_600)))
            sequence = make(text, answer=8, salt=rng.choice("aab"), hints=hints)
            if rng.random() < 0.3:
                sequence.num_fixed = sequence.num_prompt
            waiting.append(sequence)
        elif action == 2 and waiting and len(running) < 4:
            running.append(memory.start(waiting.pop(rng.randrange(len(waiting)))))
        elif action <= 5 and running:
            sequence = rng.choice(running)
            done = memory.compute(sequence, rng.randrange(1, 12))
            if done and sequence.num_computed == sequence.num_tokens < sequence.max_len:
                sequence.append(rng.randrange(3))
                if sequence.num_fixed is not None and rng.random() < 0.5:
                    sequence.num_fixed = rng.randrange(sequence.num_fixed, sequence.num_tokens + 1)
            memory.cache.publish(sequence)
            memory.verify(sequence)
        elif action == 6 and running:
            sequence = rng.choice(running)
            if sequence.num_fixed is not None and sequence.num_fixed < sequence.num_tokens:
                sequence.truncate(rng.randrange(sequence.num_fixed, sequence.num_tokens) or 1)
        elif running:
            sequence = running.pop(rng.randrange(len(running)))
            end = rng.choice([memory.cache.release, memory.cache.release, memory.cache.discard])
            end(sequence)
            if rng.random() < 0.5:
                waiting.append(sequence)
        for sequence in running:
            memory.verify(sequence)
        assert list(map(memory.cache.num_missing, waiting)) == list(map(memory.missing, waiting))
        memory.cache.check(running)
    assert memory.cache.num_evicted > 10


def cost_of_waiting(length: int) -> int:
    """Of being asked about in one step."""
    memory = Memory(1_200)
    prompt = [number % 5 for number in range(length)]
    memory.run(prompt)
    running, waiting = memory.start(make(prompt[:40])), make(prompt)
    missing = memory.cache.num_missing(waiting)

    def ask() -> None:
        assert memory.cache.num_missing(waiting) == missing
        assert not memory.cache.is_awaited(running, waiting)

    return lines_of(ask)


def test_who_waits_costs_the_same_in_every_step_however_long_its_path() -> None:
    assert cost_of_waiting(100) == cost_of_waiting(2_000)
