"""Who waits for whom, counted in steps and tokens: never in time."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cierzo.engine.scheduling.admission import SHORT_TOKENS
from cierzo.engine.scheduling.prompt_budget import PromptBudget
from cierzo.engine.scheduling.scheduler import MOST_AHEAD, Scheduler
from cierzo.engine.sequence import Sequence
from tests.engine.scheduling.steps import BLOCK, carry_out, drain, make, sequence, step

BUDGET = 16


def roomy(blocks: int = 20_000, places: int = 64) -> Scheduler:
    """Where nothing but the budget of a step is short."""
    return make(blocks=blocks, tokens=1_000, sequences=places)


def steps_until(scheduler: Scheduler, name: str, budget: int = BUDGET) -> int:
    """How many steps it takes until the sequence of that name has ended."""
    for count in range(1, 100_000):
        if name in step(scheduler, budget):
            return count
    raise AssertionError(f"{name} never ends")


@pytest.mark.parametrize("num_large", [1, 4])
@pytest.mark.parametrize(
    ("steps_before", "expected"),
    [(0, 3), (3, 2)],  # one that came while the others had all of a step is owed as much
)
def test_a_small_prompt_is_read_beside_large_ones(
    num_large: int, steps_before: int, expected: int
) -> None:
    scheduler = roomy()
    for i in range(num_large):
        scheduler.add(sequence(f"large {i}", 4_500))
    for _ in range(steps_before):
        step(scheduler, BUDGET)
    scheduler.add(sequence("small", 24, answer=1))
    assert steps_until(scheduler, "small") == expected


@pytest.mark.parametrize("depth", [0, 1_000, 8_000])
def test_what_is_shared_is_time_however_deep_the_oldest_is(depth: int) -> None:
    scheduler = make(blocks=20_000, tokens=1_000, sequences=4)
    large = sequence("large", 9_500)
    scheduler.add(large)
    while large.num_computed < depth:
        step(scheduler, 1_000)
    budget = PromptBudget(100.0, per_token=1.0, per_position=5e-3)
    scheduler.add(sequence("small", 300, answer=1))
    spent = {"large": 0.0, "small": 0.0}
    while len(chunks := scheduler.schedule(budget)) == 2:
        costs = {c.sequence.request_id: budget.of(c.start, c.count) for c in chunks}
        assert sum(costs.values()) == pytest.approx(100, abs=2 + depth / 100)
        for name, cost in costs.items():
            spent[name] += cost
        carry_out(scheduler, chunks)
    owed = min(depth, MOST_AHEAD * 100)
    assert spent["small"] - spent["large"] == pytest.approx(owed, abs=200)


def test_a_stream_of_small_ones_is_owed_once() -> None:
    scheduler = roomy()
    scheduler.add(sequence("large", 4_500, answer=1))
    for _ in range(100):
        step(scheduler, BUDGET)
    done = scheduler.running[0].num_computed
    for count in range(100):
        scheduler.add(sequence(f"small {count}", 20, answer=1))
        step(scheduler, BUDGET)
    assert scheduler.running[0].num_computed - done >= (100 - MOST_AHEAD) * BUDGET / 2


def test_one_token_at_a_time_is_shared_in_turn() -> None:
    scheduler = roomy()
    scheduler.add(sequence("large", 100))
    scheduler.add(sequence("small", 5, answer=1))
    assert steps_until(scheduler, "small", budget=1) <= 10
    assert scheduler.running[0].num_computed >= 4


def test_a_stream_of_small_ones_does_not_starve_a_large_one() -> None:
    scheduler = roomy()
    scheduler.add(sequence("large", 800, answer=1))
    for count in range(1, 10_000):
        scheduler.add(sequence(f"small {count}", 20, answer=1))
        if "large" in step(scheduler, BUDGET):
            break
    assert count <= 800 / (BUDGET / 2)


def test_what_the_small_leave_is_the_oldests() -> None:
    scheduler = roomy()
    scheduler.add(sequence("large", 800))
    scheduler.add(sequence("small", 3))
    chunks = scheduler.schedule(PromptBudget(BUDGET))
    assert {c.sequence.request_id: c.count for c in chunks} == {"small": 3, "large": 13}


def test_equals_are_read_in_order_and_as_soon_as_if_there_were_no_shares() -> None:
    scheduler = roomy()
    for name in "abcd":
        scheduler.add(sequence(name, 160, answer=1))
    ends: dict[str, int] = {}
    for count in range(1, 41):
        ends |= dict.fromkeys(step(scheduler, BUDGET), count)
    assert ends == {"a": 10, "b": 20, "c": 30, "d": 40}


def test_of_equal_prompts_one_that_wants_a_token_is_read_before_those_that_want_many() -> None:
    scheduler = roomy()
    for i in range(200):
        scheduler.add(sequence(str(i), 30, answer=1_000))
    scheduler.add(sequence("small", 30, answer=1))
    assert steps_until(scheduler, "small") <= 4


def test_forced_tokens_do_not_wait_for_a_large_prompt() -> None:
    scheduler = roomy()
    scheduler.add(sequence("large", 4_500))
    held = sequence("held to a grammar", 4, answer=100)
    scheduler.add(held)
    while held.num_generated == 0:
        step(scheduler, BUDGET)
    for _ in range(BUDGET // 2 - 1):
        held.append(7)
    scheduler.add(sequence("small", 4))
    assert held in [
        c.sequence for c in scheduler.schedule(PromptBudget(BUDGET)) if c.end == held.num_tokens
    ]


def test_logits_rows_are_shared_as_well() -> None:
    scheduler = make(blocks=1_000, tokens=64, sequences=4, rows=8)
    scheduler.add(sequence("explained", 60, prompt_logprobs=0))
    scheduler.add(sequence("explained and smaller", 50, prompt_logprobs=0))
    rows = {c.sequence.request_id: c.num_logits for c in scheduler.schedule(PromptBudget(64))}
    assert rows == {"explained": 4, "explained and smaller": 4}


SIZES = st.lists(st.tuples(st.integers(1, 300), st.integers(0, 5)), min_size=1, max_size=15)


@settings(max_examples=200, deadline=None)
@given(sizes=SIZES, budget=st.integers(2, 40))
def test_nobody_takes_twice_as_long_as_by_age(sizes: list[tuple[int, int]], budget: int) -> None:
    """By age, a prompt is read once all that was there before it, and it itself, are."""
    scheduler = roomy()
    queue = list(enumerate(sizes))
    latest: dict[str, int] = {}
    count = 0
    while queue or scheduler.running or scheduler.waiting:
        while queue and queue[0][1][1] <= count % 6:
            index, (prompt, _) = queue.pop(0)
            tokens = prompt + sum(s.num_pending for s in [*scheduler.running, *scheduler.waiting])
            latest[str(index)] = count + MOST_AHEAD + -(-tokens // (budget // 2))
            scheduler.add(sequence(str(index), prompt, answer=1))
        count += 1
        for name in step(scheduler, budget):
            assert count <= latest[name]


@settings(max_examples=200, deadline=None)
@given(
    others=st.lists(st.integers(0, 300), min_size=1, max_size=15),
    small=st.integers(1, 40),
    steps_before=st.integers(0, 30),
    budget=st.integers(2, 40),
)
def test_the_smallest_takes_twice_as_long_as_alone_and_at_most_one_near_its_end_passes(
    others: list[int], small: int, steps_before: int, budget: int
) -> None:
    scheduler = roomy()
    for i, more in enumerate(others):
        scheduler.add(sequence(str(i), 3 * small + more, answer=1))
    for _ in range(steps_before):
        step(scheduler, budget)
    scheduler.add(sequence("small", small, answer=1))
    half = budget // 2
    assert steps_until(scheduler, "small", budget) <= 2 * -(-small // half) + 1


def decoding(scheduler: Scheduler, count: int, answer: int) -> list[Sequence]:
    """So many sequences in the middle of their answers."""
    found = [sequence(f"decoding {i}", 2, answer) for i in range(count)]
    for one in found:
        scheduler.add(one)
    for _ in range(count):
        step(scheduler)
    assert len(scheduler.running) == min(count, scheduler.max_batch_sequences)
    return found


def test_some_places_are_kept_for_the_short() -> None:
    scheduler = roomy()
    for i in range(70):
        scheduler.add(sequence(f"long {i}", 5, answer=SHORT_TOKENS))
    step(scheduler)
    assert len(scheduler.running) == 56
    for i in range(9):
        scheduler.add(sequence(f"short {i}", 5, answer=2))
    step(scheduler)
    assert len(scheduler.running) == 64
    assert step(scheduler) == [f"short {i}" for i in range(8)]
    assert steps_until(scheduler, "short 8") <= 2


def test_the_last_places_are_for_the_shortest() -> None:
    """Or many that are nearly too long would keep them all."""
    scheduler = roomy()
    for i in range(70):
        scheduler.add(sequence(f"short {i}", 5, answer=SHORT_TOKENS - 5))
    step(scheduler)
    assert len(scheduler.running) == 57
    for i in range(70):
        scheduler.add(sequence(f"shorter {i}", 5, answer=SHORT_TOKENS // 2))
    step(scheduler)
    assert len(scheduler.running) == 60
    scheduler.add(sequence("shortest", 5, answer=1))
    assert steps_until(scheduler, "shortest") == 1


def test_few_places_are_for_everyone() -> None:
    scheduler = roomy(places=7)
    for i in range(8):
        scheduler.add(sequence(f"long {i}", 5, answer=SHORT_TOKENS))
    step(scheduler)
    assert len(scheduler.running) == 7


@pytest.mark.parametrize("places", [1, 4, 8, 64])
def test_the_first_of_the_queue_finds_a_place_beside_a_stream_of_short_ones(places: int) -> None:
    scheduler = roomy(places=places)
    for i in range(places):
        scheduler.add(sequence(f"first {i}", 2, answer=SHORT_TOKENS + i))
    scheduler.add(sequence("long", 600, answer=1))
    for count in range(SHORT_TOKENS + 400):
        scheduler.add(sequence(f"short {count}", 20, answer=8))
        scheduler.add(sequence(f"larger {count}", 20, answer=200))
        if "long" in step(scheduler, 100):
            break
    assert count <= SHORT_TOKENS + places + 20


def test_the_short_pass_one_that_finds_no_room_and_do_not_keep_it_out() -> None:
    scheduler = make(blocks=200, tokens=64, sequences=16)
    scheduler.add(sequence("old", 380, answer=200))  # of 800 positions
    while not scheduler.running or scheduler.running[0].num_generated < 2:
        step(scheduler)
    scheduler.add(sequence("large", 600, answer=2))
    scheduler.add(sequence("as large", 500, answer=30))
    shorts = 0
    for _ in range(150):
        scheduler.add(sequence("short", 20, answer=8))
        shorts += step(scheduler, 64).count("short")
    assert shorts > 100
    assert [s.request_id for s in scheduler.waiting if s.max_len > SHORT_TOKENS] == [
        "large",
        "as large",
    ]
    assert steps_until(scheduler, "old") <= 50
    steps = 0
    while any(s.request_id == "large" for s in [*scheduler.running, *scheduler.waiting]):
        scheduler.add(sequence("short", 20, answer=8))
        step(scheduler, 64)
        steps += 1
    assert steps <= 600 / 32 + 2
    drain(scheduler)
    assert scheduler.cache.num_available == 200


def test_a_long_one_leaves_the_first_of_the_queue_what_it_needs() -> None:
    scheduler = make(blocks=400, tokens=64, sequences=16)
    scheduler.add(sequence("old", 400, answer=100))
    while not scheduler.running or scheduler.running[0].num_generated < 2:
        step(scheduler)
    scheduler.add(sequence("large", 1_000, answer=1))  # 250 of the 300 blocks that are free
    scheduler.add(sequence("too large to pass", 300, answer=300))
    scheduler.add(sequence("passes", 100, answer=500))
    for _ in range(MOST_AHEAD + 1):
        step(scheduler, 2)
    assert [s.request_id for s in scheduler.running] == ["old", "large", "passes"]


def test_others_pass_one_that_waits_for_what_is_being_computed() -> None:
    scheduler = roomy()
    first, second = sequence("first", 400, salt="same"), sequence("second", 400, salt="same")
    for one in (first, second, sequence("small", 8, answer=1)):
        scheduler.add(one)
    assert steps_until(scheduler, "small") == 1
    assert second.num_computed == 0
    while not second.started:
        step(scheduler, BUDGET)
    assert second.num_cached == 399
    assert drain(scheduler) == ["first", "second"]


def test_who_waits_for_what_is_being_computed_computes_it_if_that_one_goes() -> None:
    scheduler = roomy()
    first, second = sequence("first", 400, salt="same"), sequence("second", 400, salt="same")
    scheduler.add(first)
    scheduler.add(second)
    step(scheduler, BUDGET)
    computed = first.num_computed
    scheduler.remove(first)
    scheduler.schedule(PromptBudget(BUDGET))
    assert second.num_cached == computed > 0


@pytest.mark.parametrize("retain", [False, True])
def test_nobody_waits_for_what_will_not_be_kept(retain: bool) -> None:
    scheduler = roomy()
    first, second = sequence("first", 6, salt="same"), sequence("second", 6, salt="same")
    first.retain = retain
    scheduler.add(first)
    scheduler.add(second)
    assert len(scheduler.schedule(PromptBudget(BUDGET))) == (1 if retain else 2)


def test_who_is_preempted_finds_what_nobody_needed() -> None:
    scheduler = make(blocks=12, tokens=64, sequences=4)
    scheduler.add(sequence("old", 8, answer=30))
    scheduler.add(sequence("young", 16, answer=20))
    while scheduler.num_preemptions == 0:
        step(scheduler)
    (young,) = scheduler.waiting
    while not young.started:
        step(scheduler)
    assert young.num_computed > 0
    assert young.num_cached == 0
    assert drain(scheduler) == ["young"]


GROUPS = st.lists(
    st.tuples(
        st.integers(1, 60),  # tokens of the prompt
        st.integers(1, 20),  # and of the answer
        st.integers(1, 3),  # choices
        st.integers(0, 3),  # when it comes
    ),
    min_size=1,
    max_size=8,
)


# A short one that has taken a held one's place and finds no block; and one in the last place while
# an older one, which has the blocks, waits for it.
@example(
    groups=[(1, 1, 1, 0), (1, 1, 1, 0), (1, 18, 1, 0), (1, 9, 1, 0)],
    spare=2, places=1, budget=1, holds={19}, aborts=set(), salt=None,
)  # fmt: skip
@example(
    groups=[(13, 1, 2, 0), (3, 11, 1, 0)],
    spare=2, places=1, budget=1, holds={1}, aborts=set(), salt="same",
)  # fmt: skip
@settings(max_examples=300, deadline=None)
@given(
    groups=GROUPS,
    spare=st.integers(0, 25),
    places=st.sampled_from([1, 3, 8]),
    budget=st.integers(1, 24),
    holds=st.sets(st.integers(0, 60), max_size=12),
    aborts=st.sets(st.integers(0, 60), max_size=3),
    salt=st.sampled_from([None, "same"]),
)
def test_everyone_ends_whatever_is_shared_held_or_dropped(
    *,
    groups: list[tuple[int, int, int, int]],
    spare: int,
    places: int,
    budget: int,
    holds: set[int],
    aborts: set[int],
    salt: str | None,
) -> None:
    longest = max(prompt + answer for prompt, answer, _, _ in groups)
    num_blocks = -(-longest // BLOCK) + spare
    scheduler = make(blocks=num_blocks, tokens=16, sequences=places, rows=16)
    queue = list(enumerate(groups))
    ended: set[str] = set()
    expected = {f"{i}.{n}" for i, (_, _, choices, _) in enumerate(groups) for n in range(choices)}
    held: Sequence | None = None
    for count in range(5_000):
        while queue and (queue[0][1][3] <= count % 4 or not scheduler.running):
            index, (prompt, answer, choices, _) = queue.pop(0)
            for number in range(choices):
                scheduler.add(sequence(f"{index}.{number}", prompt, answer, salt=salt))
        if held is not None:
            held.held = False
            held = None
        if count in holds and scheduler.running:
            held = scheduler.running[count % len(scheduler.running)]
            held.held = True
        known = [*scheduler.running, *scheduler.waiting]
        if count in aborts and known:
            dropped = known[count % len(known)]
            scheduler.remove(dropped)
            ended.add(dropped.request_id)
        ended |= set(step(scheduler, budget))
        scheduler.cache.check(s for s in scheduler.running if s.started)
        if not queue and not scheduler.running and not scheduler.waiting:
            break
    assert ended == expected
    assert scheduler.cache.num_available == num_blocks
