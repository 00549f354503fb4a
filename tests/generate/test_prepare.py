"""A job exists only if it is valid; what is wrong is said with a reason and a part."""

from __future__ import annotations

from typing import Any

import pytest

from cierzo.chat.messages import Message, Part
from cierzo.chat.tools import Tool, ToolChoice
from cierzo.engine.sampling_params import SamplingParams
from cierzo.generate.ask import Ask, Conversation
from cierzo.generate.model import Model, read_language
from cierzo.generate.prepare import prepare
from cierzo.generate.refused import Reason, Refused, TooLong
from tests.chat.vocabularies import tekken_source
from tests.support.tokenizers import tekken_json

CONTEXT = 4_096


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("tekken") / "tekken.json"
    path.write_text(tekken_json())
    language = read_language(tekken_source(path))
    return Model(language, CONTEXT, language.tokenizer.vocab_size)


def hello(**more: Any) -> Conversation:
    return Conversation(**{"messages": [Message("user", "Hello")], **more})


def sampled(**params: Any) -> SamplingParams:
    return SamplingParams(**params)


F = Tool("f", None, {"type": "object"})
BAD = Tool("g", None, {"type": "object", "properties": {"a": {"pattern": "("}}}, strict=True)


@pytest.mark.parametrize(
    ("ask", "reason", "part"),
    [
        (Ask(prompt=[]), Reason.INVALID, ("prompt",)),
        (Ask(prompt=[10**6]), Reason.INVALID, ("prompt",)),
        (
            Ask(prompt="x", sampling=sampled(temperature=float("nan"))),
            Reason.INVALID,
            ("temperature",),
        ),
        (
            Ask(prompt="x", sampling=sampled(logit_bias={10**6: 1.0})),
            Reason.INVALID,
            ("logit_bias",),
        ),
        (Ask(prompt=hello(messages=[])), Reason.INVALID, ("messages",)),
        (
            Ask(prompt=Conversation(messages=[Message("king", "x")])),
            Reason.INVALID,
            ("messages", 0, "role"),
        ),
        (Ask(prompt=hello(tools=[F, Tool("")])), Reason.INVALID, ("tools", 1, "name")),
        (
            Ask(prompt=hello(tools=[F, BAD])),
            Reason.INVALID,
            ("tools", 1, "parameters", "properties", "a"),
        ),
        (
            Ask(prompt=hello(tools=[F], choice=ToolChoice("required", ("h",)))),
            Reason.INVALID,
            ("tool_choice",),
        ),
        (Ask(prompt=hello(schema={"type": "thing"})), Reason.INVALID, ("schema",)),
        (
            Ask(prompt=hello(schema={"type": "object"}), sampling=sampled(ignore_eos=True)),
            Reason.UNSUPPORTED,
            ("ignore_eos",),
        ),
        (Ask(prompt=[5] * CONTEXT), Reason.TOO_LONG, ("prompt",)),
        (
            Ask(prompt=hello(messages=[Message("user", "x " * 50_000)])),
            Reason.TOO_LONG,
            ("messages",),
        ),
    ],
)
def test_what_is_wrong_has_a_reason_and_a_part(
    model: Model, ask: Ask, reason: Reason, part: Part
) -> None:
    with pytest.raises(Refused) as caught:
        prepare(ask, model, "r")
    assert caught.value.reason is reason
    assert caught.value.part[: len(part)] == part
    assert "\n" not in str(caught.value)


def test_an_answer_is_cut_to_the_context_where_that_is_enough(model: Model) -> None:
    prompt = [5] * (CONTEXT - 100)
    (job,) = prepare(Ask(prompt=prompt, max_tokens=500), model, "r")
    assert job.params.max_tokens == 100
    (job,) = prepare(Ask(prompt=prompt), model, "r")
    assert job.params.max_tokens == 100
    with pytest.raises(TooLong) as caught:
        prepare(Ask(prompt=prompt, max_tokens=500, min_room=200), model, "r")
    error = caught.value
    assert (error.max_model_len, error.prompt_tokens, error.answer_tokens) == (
        CONTEXT,
        len(prompt),
        500,
    )


def test_choices_have_seeds_of_their_own_and_one_prompt(model: Model) -> None:
    ask = Ask(prompt=hello(), sampling=sampled(seed=3), choices=3)
    jobs = prepare(ask, model, "r")
    assert [job.request_id for job in jobs] == ["r-0", "r-1", "r-2"]
    assert [job.index for job in jobs] == [0, 1, 2]
    assert jobs[0].params.seed == 3
    assert len({job.params.seed for job in jobs}) == 3
    assert jobs == prepare(ask, model, "r")
    unseeded = Ask(prompt=hello(), choices=2)
    assert prepare(unseeded, model, "r")[0].seed != prepare(unseeded, model, "r")[0].seed


def test_a_stop_string_never_cuts_a_value(model: Model) -> None:
    (free,) = prepare(Ask(prompt=hello(), stop=("a",)), model, "r")
    (value,) = prepare(Ask(prompt=hello(schema={"type": "object"}), stop=("a",)), model, "r")
    assert (free.stop, value.stop) == (("a",), ())


def test_a_schema_without_sense_is_a_warning_if_there_is_somebody_to_warn(model: Model) -> None:
    loose = Tool("g", None, BAD.parameters)
    warnings: list[Part] = []

    def warn(line: str, part: Part) -> None:
        warnings.append(part)

    prepare(Ask(prompt=hello(tools=[F, loose])), model, "r", warn)
    assert [part[:3] for part in warnings] == [("tools", 1, "parameters")]
    with pytest.raises(Refused):
        prepare(Ask(prompt=hello(tools=[F, loose])), model, "r")
