"""Sequences that are held while they are verified: the short do not wait for their places."""

from __future__ import annotations

import random

import pytest

from cierzo.engine.scheduling.admission import SHORT_TOKENS
from cierzo.engine.scheduling.prompt_budget import PromptBudget
from cierzo.engine.scheduling.scheduler import Scheduler
from cierzo.engine.sequence import Sequence
from tests.engine.scheduling.steps import carry_out, drain, make, sequence, step

PLACES = 16


def all_held(answer: int) -> tuple[Scheduler, list[Sequence]]:
    """A scheduler whose every place is taken by one that is held."""
    scheduler = make(blocks=20_000, tokens=1_000, sequences=PLACES)
    held = [sequence(f"held {number}", 4, answer) for number in range(PLACES)]
    for one in held:
        scheduler.add(one)
    while len(scheduler.running) < PLACES:
        step(scheduler)
        if not scheduler.schedule(PromptBudget(1_000)):
            break
        for one in held:
            one.held = one.num_generated > 0
    return scheduler, held


@pytest.mark.parametrize("answer", [20, SHORT_TOKENS - 10])
def test_the_short_do_not_wait_for_places_of_the_held(answer: int) -> None:
    """However short these are themselves: it takes no more than 16 of them to fill all places."""
    scheduler, held = all_held(answer)
    assert all(one.held for one in scheduler.running)
    for number in range(3 * PLACES):
        scheduler.add(sequence(f"short {number}", 4, answer=2))
        assert f"short {number}" in step(scheduler) + step(scheduler)
    assert sum(one.num_generated for one in held) == len(scheduler.running)


def test_the_long_wait_for_places_of_the_held() -> None:
    scheduler, _ = all_held(20)
    waiting = len(scheduler.waiting)
    scheduler.add(sequence("long", 4, answer=SHORT_TOKENS))
    for _ in range(5):
        step(scheduler)
    assert len(scheduler.waiting) == waiting + 1


@pytest.mark.parametrize("seed", range(20))
def test_a_step_has_no_more_than_its_places_whoever_comes_back(seed: int) -> None:
    """And the short are over first, then the long; everyone ends."""
    chance = random.Random(seed)
    scheduler = make(blocks=chance.choice([90, 2_000]), tokens=64, sequences=PLACES)
    alive = 0
    for number in range(80):
        long = chance.random() < 0.4
        scheduler.add(sequence(f"{number}", chance.randrange(1, 20), 90 if long else 3))
        alive += 1
        for one in [*scheduler.running, *scheduler.waiting]:
            if one.num_generated:
                one.held = chance.random() < 0.7
        chunks = scheduler.schedule(PromptBudget(chance.randrange(1, 60)))
        assert len(chunks) <= PLACES
        assert not any(chunk.sequence.held for chunk in chunks)
        alive -= len(carry_out(scheduler, chunks))
    for one in [*scheduler.running, *scheduler.waiting]:
        one.held = False
    chunks = scheduler.schedule(PromptBudget(60))
    assert len(chunks) <= PLACES
    alive -= len(carry_out(scheduler, chunks))
    assert len(drain(scheduler)) == alive
    assert scheduler.cache.num_available == scheduler.cache.num_blocks


def test_who_is_short_goes_on_when_all_come_back() -> None:
    scheduler, held = all_held(900)
    for number in range(4):
        scheduler.add(sequence(f"short {number}", 4, answer=9))
    step(scheduler)
    for one in held:
        one.held = False
    assert len(scheduler.running) > PLACES
    before = [one.num_generated for one in held]
    ended = [name for _ in range(8) for name in step(scheduler)]
    assert sorted(ended) == [f"short {number}" for number in range(4)]
    assert sum(one.num_generated for one in held) - sum(before) >= 8 * (PLACES - 4)
    assert len(drain(scheduler)) == len(held)


def test_who_finds_no_block_leaves_its_place_to_the_next() -> None:
    """The short one is offered it first, but may take no block from the older, long one."""
    scheduler = make(blocks=7, tokens=16, sequences=1)
    long = sequence("long", 1, answer=18)
    scheduler.add(long)
    while long.num_tokens < 18:
        step(scheduler)
    long.held = True
    scheduler.add(sequence("short", 1, answer=9))
    step(scheduler)
    long.held = False
    assert len(scheduler.running) == 2
    assert drain(scheduler) == ["long", "short"]
