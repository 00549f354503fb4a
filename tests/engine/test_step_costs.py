"""What a step takes is learned from steps, and decides whether one more token is drafted."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from cierzo.engine.step_costs import StepCosts, Work


def learned(
    base: float, slope: float, drafted: list[int], *, sequences: int = 1, noise: float = 0.0
) -> StepCosts:
    """Of a machine on which a step takes `base` for each sequence, and `slope` a drafted token."""
    rng = random.Random(1)
    costs = StepCosts()
    for _ in range(20):
        for number in drafted:
            seconds = (base * sequences + slope * number) * (1 + noise * rng.random())
            costs.observe(Work(sequences, number), seconds)
    return costs


def most_that_pay(costs: StepCosts, chance: float, sequences: int = 1) -> int:
    """What is drafted where each token is right with that chance, if those before are."""
    return costs.best_drafts(sequences, [chance ** (place + 1) for place in range(64)])


def test_nothing_pays_before_anything_is_known() -> None:
    assert not StepCosts().known
    assert most_that_pay(StepCosts(), 1.0) == 0


@pytest.mark.parametrize("sequences", [1, 8])
def test_steps_without_drafts_are_reason_enough_to_try(sequences: int) -> None:
    costs = learned(0.002, 0.0, [0], sequences=sequences)
    assert costs.best_drafts(sequences, [0.9]) == 1
    assert costs.best_drafts(sequences, [0.1]) == 0


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_line_is_found(noise: float) -> None:
    costs = learned(0.5, 0.07, [0, 4, 8, 2], noise=noise)
    for drafted in (0, 16, 48):
        expected = 0.5 + 0.07 * drafted
        far = 1 if drafted <= 16 else 2  # beyond what was tried
        assert costs.seconds(Work(1, drafted)) == pytest.approx(expected, rel=far * (0.05 + noise))


def test_what_a_sequence_costs_is_not_what_a_draft_costs() -> None:
    """Each sequence has more to do than a row."""
    costs = StepCosts()
    for _ in range(20):
        for sequences in (1, 2, 4):
            for drafted in (0, 4):
                costs.observe(Work(sequences, drafted), 0.010 * sequences + 0.001 * drafted)
    assert costs.seconds(Work(4, 20)) == pytest.approx(0.060, rel=0.1)
    assert costs.best_drafts(4, [0.3]) == 1


def test_more_is_drafted_where_it_costs_little() -> None:
    dear, cheap = learned(0.0024, 0.0008, [0, 7]), learned(0.52, 0.07, [0, 7])
    assert 0 < most_that_pay(dear, 0.8) < most_that_pay(cheap, 0.8)
    assert most_that_pay(cheap, 1.0) == 64
    assert most_that_pay(dear, 0.2) == 0


def test_where_one_more_does_not_pay_many_more_may() -> None:
    """Milliseconds by rows, of a small model on a processor whose kernels for few end at 16."""
    took = {1: 4.4, 4: 5.7, 8: 8.2, 12: 11.1, 16: 13.7, 17: 16.2, 24: 20.1, 32: 24.9, 64: 44.0}
    costs = StepCosts()
    for _ in range(20):
        for rows, milliseconds in took.items():
            costs.observe(Work(1, rows - 1), milliseconds)
    assert most_that_pay(costs, 1.0) == 64
    assert 1 < most_that_pay(costs, 0.8) < 16


def test_a_machine_that_becomes_slower_is_noticed_and_a_hiccup_is_not() -> None:
    costs = learned(0.002, 0.0005, [0, 3])
    before = costs.seconds(Work(1))
    costs.observe(Work(1), 1.0)
    assert costs.seconds(Work(1)) == pytest.approx(before, rel=0.05)
    for _ in range(40):
        costs.observe(Work(1), 0.1)
    assert costs.seconds(Work(1)) > 10 * before


def test_a_hiccup_at_first_is_forgotten_with_the_next_step_of_its_kind() -> None:
    costs = StepCosts()
    for _ in range(20):
        costs.observe(Work(1), 0.002)
    costs.observe(Work(1, 3), 1.0)
    assert most_that_pay(costs, 1.0) == 0
    costs.observe(Work(1, 3), 0.0035)
    assert costs.seconds(Work(1, 3)) == pytest.approx(0.0035, rel=0.1)
    assert most_that_pay(costs, 0.9) > 0


def devstral(work: Work) -> float:
    """Seconds like those of a large model on two cores."""
    rows = work.rows
    of_rows = 0.46 + 0.02 * rows if rows <= 8 else max(0.62 + 0.04 * (rows - 8), 0.04 * rows)
    attended = 1e-6 * work.context + 0.04 / 27_000 * work.prompt_context
    return of_rows + attended - (0.0 if work.logits else 0.02)


def small(work: Work) -> float:
    """And of a small one."""
    attended = 2e-8 * work.context + 3e-8 * work.prompt_context
    return 0.004 + 0.0004 * work.rows + attended


def reading(tokens: int, depth: float, *, sequences: int = 0, context: int = 0) -> Work:
    """A step that reads so much of a prompt, beside so many decoding sequences."""
    return Work(sequences, 0, context, tokens, tokens * (depth + tokens / 2), sequences > 0)


@pytest.mark.parametrize("machine", [devstral, small])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_one_model_knows_prompts_decodes_and_how_deep_they_are(
    machine: Callable[[Work], float], noise: float
) -> None:
    rng = random.Random(3)
    costs = StepCosts()
    for number in range(300):
        depth = 100 * number
        for work in (
            reading(64, depth),
            reading(7, depth, sequences=1, context=500),
            Work(1, rng.randrange(8), 500 + number),
            Work(3, 0, 60_000),
        ):
            seconds = machine(work) * (1 + noise * rng.random())
            if rng.random() < noise / 4:
                seconds *= 3  # somebody else had the processor
            costs.observe(work, seconds)
    for work in (
        reading(64, 500),
        reading(48, 29_000),
        reading(7, 28_000, sequences=1, context=700),
        Work(1, 5, 600),
        Work(2, 0, 30_000),
    ):
        assert costs.seconds(work) == pytest.approx(machine(work), rel=0.1 + 2 * noise), work


def test_what_was_seen_is_not_forgotten_while_other_steps_run() -> None:
    costs = StepCosts()
    for _ in range(20):
        costs.observe(reading(7, 0, sequences=1), 0.7)
        costs.observe(reading(64, 0), 3.0)
    for _ in range(5_000):
        costs.observe(Work(1), 0.5)
    assert costs.seconds(reading(7, 0, sequences=1)) == pytest.approx(0.7, rel=0.15)
    assert costs.seconds(reading(64, 0)) == pytest.approx(3.0, rel=0.15)


def test_there_are_so_many_kinds_at_most() -> None:
    rng = random.Random(4)
    costs = StepCosts()
    for _ in range(2_000):
        work = Work(rng.randrange(1, 40), rng.randrange(200), rng.randrange(1 << 20))
        costs.observe(work, 0.001 * (10 + work.rows))
    assert costs.seconds(Work(8, 40, 1_000)) == pytest.approx(0.058, rel=0.2)
