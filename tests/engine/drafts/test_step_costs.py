"""What a row costs is learned from steps, and decides whether one more is drafted."""

from __future__ import annotations

import random

import pytest

from cierzo.engine.drafts.step_costs import StepCosts


def learned(base: float, slope: float, sizes: list[int], noise: float = 0.0) -> StepCosts:
    rng = random.Random(1)
    costs = StepCosts()
    for _ in range(20):
        for rows in sizes:
            costs.observe(rows, (base + slope * rows) * (1 + noise * rng.random()))
    return costs


def most_that_pay(costs: StepCosts, chance: float) -> int:
    """Rows that one sequence drafts where each is right with that chance, if those before are."""
    expected, rows, right = 1.0, 1, chance
    while rows < 64 and costs.pays(expected, rows, right):
        expected += right
        rows += 1
        right *= chance
    return rows - 1


def test_nothing_pays_before_anything_is_known() -> None:
    assert not StepCosts().pays(1, 1, 1.0)


def test_one_size_of_steps_is_reason_enough_to_try() -> None:
    costs = learned(0.002, 0.0, [1])
    assert costs.pays(1, 1, 0.9)
    assert not costs.pays(1, 1, 0.1)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_line_is_found(noise: float) -> None:
    costs = learned(0.5, 0.07, [1, 4, 8, 2], noise)
    for rows in (1, 16, 48):
        assert costs.seconds(rows) == pytest.approx(0.5 + 0.07 * rows, rel=0.05 + noise)


def test_more_is_drafted_where_a_row_costs_little() -> None:
    dear, cheap = learned(0.0016, 0.0008, [1, 8]), learned(0.45, 0.07, [1, 8])
    assert 0 < most_that_pay(dear, 0.8) < most_that_pay(cheap, 0.8)
    assert most_that_pay(cheap, 1.0) == 63
    assert most_that_pay(dear, 0.2) == 0


def test_a_machine_that_becomes_slower_is_noticed_and_a_hiccup_is_not() -> None:
    costs = learned(0.002, 0.0005, [1, 4])
    before = costs.seconds(1)
    costs.observe(1, 1.0)
    assert costs.seconds(1) == before
    for _ in range(40):
        costs.observe(1, 0.1)
    assert costs.seconds(1) > 10 * before
