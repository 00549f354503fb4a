"""Which threads of a pool rest, by made-up times."""

from __future__ import annotations

import pytest

from cierzo import _native

pytestmark = pytest.mark.skipif(
    not hasattr(_native, "RestRule"), reason="needs a build for developers (CIERZO_PROBE)"
)

MS = 1_000_000
NOBODY = -1


class Pool:
    """One long step; `stalls` are the times (ms) that all others wait for a thread."""

    def __init__(self, threads: int) -> None:
        self.rule = _native.RestRule(threads)
        self.rule.step_begins(0)
        self.now = 0

    def run(self, milliseconds: int, stalls: dict[int, float], every: int = 8) -> list[int]:
        """Who rested; each of `stalls` comes once in `every` ms."""
        rested = []
        end = self.now + milliseconds * MS
        while self.now < end:
            self.now += every * MS
            for thread, stall in stalls.items():
                lost = int(stall * MS) * (self.rule.active - 1)
                rested.append(self.rule.late(thread, self.now, lost))
        return [thread for thread in rested if thread != NOBODY]

    def wait(self, milliseconds: int) -> int:
        """The thread that is due afterwards."""
        self.now += milliseconds * MS
        return self.rule.due(self.now)


def test_of_two_threads_one_rests_when_more_than_half_of_the_time_is_lost_to_it() -> None:
    assert Pool(2).run(1000, {1: 7}) == [1]


@pytest.mark.parametrize("stall", [0.35, 2.0, 3.9])
def test_of_two_threads_none_rests_while_both_do_as_much_as_one(stall: float) -> None:
    assert Pool(2).run(5000, {1: stall}) == []


def test_of_two_threads_none_rests_for_a_stall_now_and_then() -> None:
    assert Pool(2).run(10_000, {0: 30, 1: 30}, every=1000) == []


def test_of_many_threads_the_late_one_rests_for_little() -> None:
    pool = Pool(64)
    assert pool.run(100, {17: 4}) == [17]
    assert pool.rule.active == 63


def test_that_somebody_is_always_late_is_no_reason_to_rest() -> None:
    """Each of 64 threads has a stall of 1 ms every second: 6% of the time is lost, to nobody."""
    pool = Pool(64)
    for step in range(640):
        pool.now += 16 * MS
        assert pool.rule.late(step % 64, pool.now, 63 * MS) == NOBODY


def test_one_that_rested_is_tried_again_and_stays_when_nobody_waits_for_it() -> None:
    pool = Pool(4)
    assert pool.run(400, {2: 5})[:1] == [2]
    assert pool.wait(400) == 2
    assert pool.rule.active == 4
    assert pool.wait(1000) == NOBODY


def test_one_that_is_late_again_rests_at_once_and_longer() -> None:
    pool = Pool(4)
    pool.run(100, {2: 7})
    assert pool.rule.active == 3
    assert pool.wait(250) == 2
    assert pool.run(10, {2: 7}) == [2]
    assert pool.wait(250) == NOBODY
    assert pool.wait(200) == 2


def test_those_who_rest_come_back_one_after_the_other() -> None:
    pool = Pool(8)
    assert sorted(pool.run(200, {2: 7, 5: 7})[:2]) == [2, 5]
    first = pool.wait(400)
    assert pool.rule.due(pool.now) == NOBODY
    second = pool.wait(20)
    assert sorted([first, second]) == [2, 5]


def test_another_rests_for_the_first_thread_unless_that_does_not_help() -> None:
    pool = Pool(4)
    assert pool.run(80, {0: 7})[:1] == [3]
    assert pool.run(200, {0: 7}) == []
    assert pool.wait(0) == 3
    assert pool.run(2000, {0: 7}) == []
    assert pool.rule.active == 4


def test_the_time_between_steps_counts_for_nothing() -> None:
    """Half of the steps' time is lost, and steps are a tenth of all time."""
    pool = Pool(4)
    rested = []
    for _ in range(40):
        pool.now += 10 * MS
        rested.append(pool.rule.late(1, pool.now, 3 * 5 * MS))
        pool.rule.step_ends(pool.now)
        pool.now += 90 * MS
        pool.rule.step_begins(pool.now)
    assert 1 in rested


def test_one_that_rests_and_ends_its_last_chunk_late_does_not_rest_twice() -> None:
    pool = Pool(64)
    assert pool.run(8, {17: 4}) == [17]
    assert pool.run(8, {17: 400}) == []
    assert pool.rule.active == 63


def test_the_last_thread_works() -> None:
    pool = Pool(2)
    pool.run(1000, {1: 7})
    assert pool.rule.active == 1
    assert pool.rule.late(0, pool.now, 1000 * MS) == NOBODY
