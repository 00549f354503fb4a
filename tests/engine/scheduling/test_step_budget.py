"""Steps stay short whatever the machine's speed, and prompts are read fast even so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cierzo.engine.scheduling.prompt_budget import PromptBudget
from cierzo.engine.scheduling.step_budget import FIRST_TOKENS, StepBudget
from cierzo.engine.step_costs import StepCosts, Work
from tests.engine.test_step_costs import devstral, reading, small

Machine = Callable[[Work], float]


def budgets(
    machine: Machine, *, sequences: int = 0, depth: int = 0, limit: int = 512
) -> tuple[int, int]:
    """What a machine gives to prompts, once it is known: alone, and beside so many sequences."""
    costs = StepCosts()
    budget = StepBudget(limit, costs)
    decodes = Work(sequences, 0, 500 * sequences)
    alone = beside = 0
    for _ in range(60):
        costs.observe(decodes if sequences else Work(1, 0, 500), machine(decodes))
        alone = budget.tokens(Work(), depth)
        work = reading(alone, depth)
        costs.observe(work, machine(work))
        if sequences:
            beside = budget.tokens(decodes, depth)
            work = reading(beside, depth, sequences=sequences, context=decodes.context)
            costs.observe(work, machine(work))
    return alone, beside


def slower(machine: Machine, factor: float) -> Machine:
    return lambda work: factor * machine(work)


@pytest.mark.parametrize("sequences", [1, 2, 8])
@pytest.mark.parametrize("depth", [0, 20_000])
def test_a_prompt_rides_on_the_steps_of_a_large_model(sequences: int, depth: int) -> None:
    alone, beside = budgets(devstral, sequences=sequences, depth=depth)
    decodes = Work(sequences, 0, 500 * sequences)
    step = devstral(reading(beside, depth, sequences=sequences, context=500 * sequences))
    assert step <= 2.5 * devstral(decodes)
    kept = beside / step / (alone / devstral(reading(alone, depth)))
    assert kept >= (0.6 if sequences == 8 else 0.7)


@pytest.mark.parametrize("depth", [0, 4_000])
def test_a_small_model_reads_at_full_speed_in_short_steps(depth: int) -> None:
    alone, beside = budgets(small, sequences=2, depth=depth)
    step = small(reading(beside, depth, sequences=2, context=1_000))
    assert step <= 0.2
    assert beside / step >= 0.9 * alone / small(reading(alone, depth))


def test_alone_a_prompt_is_read_nearly_as_fast_as_in_the_largest_steps() -> None:
    for machine in (devstral, small, slower(small, 10), slower(devstral, 0.01)):
        alone, _ = budgets(machine)
        step = machine(reading(alone, 0))
        assert step <= 4
        assert alone / step >= 0.85 * 512 / machine(reading(512, 0))


@pytest.mark.parametrize("sequences", [0, 1])
def test_a_very_slow_machine_takes_no_longer_than_a_ping_may_wait(sequences: int) -> None:
    machine = slower(devstral, 20)
    alone, beside = budgets(machine, sequences=sequences)
    assert machine(reading(alone, 0)) <= max(4, machine(reading(1, 0)))
    assert not sequences or machine(reading(beside, 0, sequences=1)) <= 2.5 * machine(Work(1))


def test_the_limit_holds_before_and_after_the_speed_is_known() -> None:
    costs = StepCosts()
    assert StepBudget(4, costs).prompt_budget(Work(), 0) == PromptBudget(4)
    assert StepBudget(64, costs).prompt_budget(Work(), 0) == PromptBudget(FIRST_TOKENS)
    assert budgets(slower(small, 1e-3), sequences=1, limit=4) == (4, 3)


def test_the_time_of_a_token_is_told_once_it_is_known() -> None:
    costs = StepCosts()
    budget = StepBudget(512, costs)
    assert budget.seconds_per_token == 0.0
    for tokens in (16, 64, 128):
        costs.observe(reading(tokens, 0), small(reading(tokens, 0)))
    assert budget.seconds_per_token == pytest.approx(4.3e-4, rel=0.1)
