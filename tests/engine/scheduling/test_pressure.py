"""Where memory is short, little is computed twice, and everyone's turn comes."""

from __future__ import annotations

import pytest
from benchmarks.pressure import simulate

from cierzo.engine.scheduling.thrift import Thrift
from tests.engine.scheduling.steps import BLOCK, drain, make, sequence, step


@pytest.mark.parametrize(("sessions", "most"), [(4, 1.0), (6, 1.3), (8, 1.9), (12, 2.5)])
def test_throughput_falls_off_gently_past_the_memory_of_four_sessions(
    sessions: int, most: float
) -> None:
    outcome = simulate(sessions, memory=4, seed=0)
    assert outcome.computed <= most * outcome.least
    assert len(outcome.waits) == 12 * sessions  # each turn of each was answered


def test_who_was_evicted_waits_while_others_go_on_but_not_for_who_came_later() -> None:
    scheduler = make(blocks=80, tokens=64, sequences=4)
    for name in ("old", "other"):
        scheduler.add(sequence(name, 200, answer=1))
        drain(scheduler)
    first = sequence("first", 20, answer=200)
    scheduler.add(first)
    while not first.num_generated:
        step(scheduler)
    back = sequence("old", 200, answer=2)
    thrift = Thrift(scheduler.cache)
    lost = scheduler.cache.evicted.num_lost(scheduler.cache.find(back), back, BLOCK)
    assert lost == 96
    assert not thrift.allows(back)
    thrift.earn(10_000)
    assert not thrift.allows(back)  # what is spared does not add up for ever
    scheduler.add(back)
    later = [sequence(f"later {i}", 8, answer=2) for i in range(5)]
    for one in later:
        scheduler.add(one)
        step(scheduler)
        step(scheduler)
        assert not back.started
    scheduler.remove(first)
    step(scheduler)
    assert back.started  # it is the oldest now
    drain(scheduler)
    assert scheduler.cache.num_available == 80


def test_what_is_new_does_not_wait_for_what_others_have_evicted() -> None:
    scheduler = make(blocks=80, tokens=64, sequences=4)
    for name in ("old", "other"):
        scheduler.add(sequence(name, 200, answer=1))
        drain(scheduler)
    scheduler.add(sequence("first", 20, answer=200))
    step(scheduler)
    new = sequence("new", 200, answer=2)
    scheduler.add(new)
    step(scheduler)
    assert new.started


def test_the_victim_is_who_is_cheapest_to_bring_back() -> None:
    """Not the youngest, all of whose tokens would be computed once more."""
    scheduler = make(blocks=32, tokens=64, sequences=4)
    old = sequence("old", 40, answer=40, salt="same")
    scheduler.add(old)
    while not old.num_generated:
        step(scheduler)
    sharing = sequence("sharing", 44, answer=20, salt="same")
    young = sequence("young", 60, answer=40)
    for one in (sharing, young):
        scheduler.add(one)
        step(scheduler)
    sharing.held = True  # so that it asks for no block itself
    while not scheduler.num_preemptions:
        step(scheduler)
    assert scheduler.waiting == [sharing]
    assert young.started
    sharing.held = False
    assert set(drain(scheduler)) == {"old", "sharing", "young"}
