"""What a drafted token costs is learned from steps, and decides whether one more is drafted."""

from __future__ import annotations

import random

import pytest

from cierzo.engine.drafts.step_costs import StepCosts


def learned(
    base: float, slope: float, drafted: list[int], *, sequences: int = 1, noise: float = 0.0
) -> StepCosts:
    """Of a machine on which a step takes `base` for each sequence, and `slope` a drafted token."""
    rng = random.Random(1)
    costs = StepCosts()
    for _ in range(20):
        for number in drafted:
            seconds = (base * sequences + slope * number) * (1 + noise * rng.random())
            costs.observe(sequences, number, seconds)
    return costs


def most_that_pay(costs: StepCosts, chance: float) -> int:
    """What one sequence drafts where each token is right with that chance, if those before are."""
    expected, drafted, right = 1.0, 0, chance
    while drafted < 64 and costs.pays(expected, 1, drafted, right):
        expected += right
        drafted += 1
        right *= chance
    return drafted


def test_nothing_pays_before_anything_is_known() -> None:
    assert not StepCosts().pays(1, 1, 0, 1.0)


@pytest.mark.parametrize("sequences", [1, 8])
def test_steps_without_drafts_are_reason_enough_to_try(sequences: int) -> None:
    costs = learned(0.002, 0.0, [0], sequences=sequences)
    assert costs.pays(sequences, sequences, 0, 0.9)
    assert not costs.pays(sequences, sequences, 0, 0.1)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_line_is_found(noise: float) -> None:
    costs = learned(0.5, 0.07, [0, 4, 8, 2], noise=noise)
    for drafted in (0, 16, 48):
        expected = 0.5 + 0.07 * drafted
        assert costs.seconds(1, drafted) == pytest.approx(expected, rel=0.05 + noise)


def test_what_a_sequence_costs_is_not_what_a_draft_costs() -> None:
    """Each sequence has keys and values of its own to be read."""
    costs = StepCosts()
    for _ in range(20):
        for sequences in (1, 2, 4):
            for drafted in (0, 4):
                costs.observe(sequences, drafted, 0.010 * sequences + 0.001 * drafted)
    assert costs.seconds(4, 20) == pytest.approx(0.060, rel=0.05)
    assert costs.pays(4, 4, 0, 0.3)


def test_more_is_drafted_where_it_costs_little() -> None:
    dear, cheap = learned(0.0024, 0.0008, [0, 7]), learned(0.52, 0.07, [0, 7])
    assert 0 < most_that_pay(dear, 0.8) < most_that_pay(cheap, 0.8)
    assert most_that_pay(cheap, 1.0) == 64
    assert most_that_pay(dear, 0.2) == 0


def test_a_machine_that_becomes_slower_is_noticed_and_a_hiccup_is_not() -> None:
    costs = learned(0.002, 0.0005, [0, 3])
    before = costs.seconds(1, 0)
    costs.observe(1, 0, 1.0)
    assert costs.seconds(1, 0) == before
    for _ in range(40):
        costs.observe(1, 0, 0.1)
    assert costs.seconds(1, 0) > 10 * before
