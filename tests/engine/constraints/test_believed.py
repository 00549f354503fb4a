"""Values whose masks are believed: given out as they come, in the tokens that the history has."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cierzo import LLM, SamplingParams
from cierzo.chat.calls.tool_format import output_constraints
from cierzo.chat.tools import Tool, ToolChoice
from cierzo.engine.constraints.check_worker import Check, CheckWorker
from cierzo.engine.constraints.constrained import Constrained
from tests.support.checkpoints import tekken_model, write_mistral

WORDS = {"enum": ["red", "green", None]}
PICK = {
    "type": "object",
    "properties": {"one": WORDS},
    "required": ["one"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLM]:
    folder = tmp_path_factory.mktemp("believed")
    write_mistral(folder, tekken_model())
    with LLM(str(folder), threads=1, kv_cache_memory_mb=72) as made:
        yield made


def at_once(worker: CheckWorker, constrained: Constrained) -> Check:
    """A check that is finished before anything else is done."""
    check = Check(constrained)
    worker._run(check)
    return check


@pytest.mark.parametrize("quick", [False, True])
def test_a_token_that_will_be_cut_anew_is_not_given_out_before(
    llm: LLM, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However soon its value is verified."""
    if quick:
        monkeypatch.setattr(CheckWorker, "begin", at_once)
    constraint = output_constraints(
        llm.template.tool_format,
        tools=[Tool("pick", None, PICK)],
        choice=ToolChoice("required"),
        parallel=False,
    )(None)
    assert constraint is not None
    assert [check.held for check in constraint.checks] == [False]
    for seed in range(60):
        params = SamplingParams(max_tokens=80, temperature=2.0, seed=seed, constraint=constraint)
        (answer,) = llm.generate([[1, 3, 40, 50]], params)
        assert answer.finish_reason == "stop"
        text = llm.tokenizer.decode(answer.token_ids).removeprefix("pick")
        assert json.loads(text)["one"] in WORDS["enum"]
