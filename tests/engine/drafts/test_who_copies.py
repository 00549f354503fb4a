"""An engine drafts from what it answered before: for the same salt, and not once that is gone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cierzo.engine.drafts.drafter import Drafter
from cierzo.engine.engine import Engine
from cierzo.engine.sampling_params import SamplingParams
from cierzo.engine.step_costs import StepCosts
from tests.engine.models import Answer, make_engine, random_prompt

PARAMS = SamplingParams(max_tokens=60, temperature=1.0, seed=5, ignore_eos=True)


class EverythingPays(StepCosts):
    """A machine on which drafted tokens cost nothing."""

    def best_drafts(self, sequences: int, chances: Iterable[float]) -> int:
        return len(list(chances))


def engine_of(path: Path, **settings: Any) -> Engine:
    engine = make_engine(path, **settings)
    engine.use_drafter(Drafter(EverythingPays()))
    return engine


def answer(engine: Engine, salt: str = "", *, retain: bool = True) -> list[int]:
    """The same request each time, whoever asks."""
    answer = Answer()
    engine.add("r", random_prompt(3, 40), PARAMS, cache_salt=salt, retain=retain)
    while engine.has_work():
        for output in engine.step():
            answer.take(output)
    return answer.token_ids


def test_who_asks_again_gets_the_same_answer_in_fewer_steps(model_path: Path) -> None:
    engine = engine_of(model_path)
    first = answer(engine)
    before = engine.stats()
    assert before.drafted_recent == 0
    assert answer(engine) == first
    after = engine.stats()
    assert after.accepted_recent > 40
    assert after.accepted_tokens - before.accepted_tokens >= after.accepted_recent
    assert after.steps - before.steps < before.steps / 2


@pytest.mark.parametrize("case", ["another salt", "left nothing", "cleared", "cache off"])
def test_what_may_not_be_copied_is_not_even_tried(model_path: Path, case: str) -> None:
    """The number of steps would tell others what was answered."""
    engine = engine_of(model_path, prefix_cache="off" if case == "cache off" else "on")
    first = answer(engine, retain=case != "left nothing")
    if case == "cleared":
        engine.clear_cache("")
    before = engine.stats()
    assert answer(engine, "other" if case == "another salt" else "") == first
    after = engine.stats()
    assert after.drafted_recent == 0
    assert after.drafted_tokens - before.drafted_tokens == before.drafted_tokens
    assert after.accepted_tokens - before.accepted_tokens == before.accepted_tokens
