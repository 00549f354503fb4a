"""Steps stay short whatever the machine's speed."""

from __future__ import annotations

import pytest

from cierzo.engine.scheduling.step_budget import StepBudget


def budget(seconds_per_token: float, *, others_decode: bool, limit: int = 512) -> int:
    """What a machine of that speed is given, once it is known."""
    budget = StepBudget(limit)
    for _ in range(10):
        tokens = budget.prompt_budget(others_decode=others_decode)
        budget.observe(tokens, tokens * seconds_per_token)
    return budget.prompt_budget(others_decode=others_decode)


@pytest.mark.parametrize("others_decode", [True, False])
def test_a_fast_machine_fills_the_step(others_decode: bool) -> None:
    assert budget(1e-5, others_decode=others_decode) == 512


@pytest.mark.parametrize("others_decode", [True, False])
def test_a_step_is_short_where_that_costs_no_speed(others_decode: bool) -> None:
    assert budget(5e-4, others_decode=others_decode) == pytest.approx(400, abs=1)


def test_a_step_is_shorter_while_others_wait_for_tokens() -> None:
    """Where a short one reads the weights more often."""
    assert budget(1.9e-3, others_decode=True) == 128
    assert budget(4e-3, others_decode=True) == pytest.approx(62, abs=1)
    assert budget(4e-3, others_decode=False) == 128
    assert budget(0.02, others_decode=False) == pytest.approx(50, abs=1)


def test_a_slow_machine_still_takes_efficient_chunks() -> None:
    assert budget(0.07, others_decode=True) == 32


def test_a_very_slow_machine_takes_no_longer_than_a_ping_may_wait() -> None:
    assert budget(1.0, others_decode=False) == 4
    assert budget(100.0, others_decode=True) == 1


def test_the_limit_holds_before_and_after_the_speed_is_known() -> None:
    assert StepBudget(4).prompt_budget(others_decode=False) == 4
    assert budget(1e-6, others_decode=False, limit=4) == 4


def test_a_slow_step_is_forgotten() -> None:
    budget = StepBudget(512)
    budget.observe(16, 16.0)
    for _ in range(20):
        budget.observe(budget.prompt_budget(others_decode=True), 1e-4)
    assert budget.prompt_budget(others_decode=True) == 512
