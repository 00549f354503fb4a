"""The engine's synchronous core on a real tiny model: ends, errors, aborts, numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cierzo.backends.tensor import StorageType
from cierzo.engine.engine import Engine
from cierzo.engine.errors import PromptTooLong, QueueFull
from cierzo.engine.sampling_params import SamplingParams
from tests.engine.models import VOCAB, Request, make_engine, random_prompt, run
from tests.support.checkpoints import TinyModel, random_weights, write_gguf

GREEDY = SamplingParams(max_tokens=10, temperature=0.0)


@pytest.fixture
def engine(model_path: Path) -> Engine:
    return make_engine(model_path)


def greedy_answer(model_path: Path, prompt: list[int], count: int = 10) -> list[int]:
    params = SamplingParams(max_tokens=count, temperature=0.0)
    return run(make_engine(model_path), {"r": Request(prompt, params)})["r"].token_ids


def test_max_tokens_ends_with_length(engine: Engine) -> None:
    answer = run(engine, {"r": Request([5, 6], GREEDY)})["r"]
    assert len(answer.token_ids) == 10
    assert answer.finish_reason == "length"


def test_context_ends_with_length(model_path: Path) -> None:
    engine = make_engine(model_path, num_blocks=3)
    params = SamplingParams(max_tokens=1_000, temperature=0.0)
    answer = run(engine, {"r": Request(random_prompt(0, 90), params)})["r"]
    assert engine.max_model_len == 96
    assert (len(answer.token_ids), answer.finish_reason) == (6, "length")


def test_eos_ends_with_stop_and_is_named(model_path: Path) -> None:
    prompt = random_prompt(1, 12)
    tokens = greedy_answer(model_path, prompt)
    place = next(i for i in range(1, 10) if tokens[i] not in tokens[:i])
    engine = make_engine(model_path, eos=(tokens[place],))
    outputs = []
    engine.add("r", prompt, GREEDY)
    while engine.has_work():
        outputs += engine.step()
    assert [t for o in outputs for t in o.token_ids] == tokens[: place + 1]
    assert outputs[-1].finish_reason == "stop"
    assert outputs[-1].stop_token_id == tokens[place]
    ignoring = SamplingParams(max_tokens=10, temperature=0.0, ignore_eos=True)
    assert run(engine, {"r": Request(prompt, ignoring)})["r"].token_ids == tokens


def test_stop_token_ids(model_path: Path) -> None:
    prompt = random_prompt(1, 12)
    tokens = greedy_answer(model_path, prompt)
    place = next(i for i in range(1, 10) if tokens[i] not in tokens[:i])
    params = SamplingParams(max_tokens=10, temperature=0.0, stop_token_ids=(tokens[place],))
    answer = run(make_engine(model_path), {"r": Request(prompt, params)})["r"]
    assert answer.token_ids == tokens[: place + 1]
    assert answer.finish_reason == "stop"


def test_min_tokens_puts_stops_off(model_path: Path) -> None:
    prompt = random_prompt(1, 12)
    first = greedy_answer(model_path, prompt)[0]
    stop: dict[str, Any] = {"stop_token_ids": (first,), "temperature": 0.0, "max_tokens": 10}
    engine = make_engine(model_path)
    assert run(engine, {"r": Request(prompt, SamplingParams(**stop))})["r"].token_ids == [first]
    later = run(engine, {"r": Request(prompt, SamplingParams(**stop, min_tokens=4))})["r"]
    assert len(later.token_ids) >= 4
    assert first not in later.token_ids[:4]


def test_max_tokens_0_reads_the_prompt_only(model_path: Path) -> None:
    prompt = random_prompt(2, 150)
    params = SamplingParams(max_tokens=0, prompt_logprobs=1)
    answer = run(make_engine(model_path), {"r": Request(prompt, params)})["r"]
    assert answer.token_ids == []
    assert answer.finish_reason == "length"
    assert [entry.token_id for entry in answer.prompt_logprobs] == prompt[1:]


def test_prompt_logprobs_are_those_of_generating_the_same_tokens(model_path: Path) -> None:
    """The two ways to a token's probability meet, bit for bit."""
    prompt = random_prompt(3, 40)
    params = SamplingParams(max_tokens=50, temperature=0.0, logprobs=3)
    engine = make_engine(model_path)
    answer = run(engine, {"r": Request(prompt, params)})["r"]
    whole = prompt + answer.token_ids
    read = SamplingParams(max_tokens=0, prompt_logprobs=3)
    again = run(engine, {"r": Request(whole, read)})["r"]
    assert again.prompt_logprobs[len(prompt) - 1 :] == answer.logprobs


def test_a_prompt_of_one_token(engine: Engine) -> None:
    params = SamplingParams(max_tokens=2, prompt_logprobs=0)
    answer = run(engine, {"r": Request([9], params)})["r"]
    assert len(answer.token_ids) == 2
    assert answer.prompt_logprobs == []


def test_logits_that_are_not_finite_fail_that_request_alone(tmp_path: Path) -> None:
    weights = random_weights(TinyModel())
    weights["model.embed_tokens.weight"][7] = np.nan
    write_gguf(tmp_path / "m.gguf", TinyModel(), StorageType.F32, weights=weights)
    engine = make_engine(tmp_path / "m.gguf")
    watched = SamplingParams(max_tokens=10, prompt_logprobs=0)
    answers = run(
        engine,
        {
            "bad": Request([5, 6, 7], GREEDY),
            "bad prompt": Request([5, 7, 6], watched),
            "good": Request([5, 8, 6], GREEDY),
        },
    )
    for name in ("bad", "bad prompt"):
        assert answers[name].finish_reason == "error"
        assert answers[name].token_ids == []
        assert "not finite" in (answers[name].error or "")
    assert len(answers["good"].token_ids) == 10
    assert engine.stats().failed == 2


def test_abort_frees_the_blocks_at_once(engine: Engine) -> None:
    engine.add("running", random_prompt(0, 500), SamplingParams(max_tokens=500))
    for _ in range(5):
        engine.step()
    engine.add("waiting", random_prompt(1, 500), GREEDY)
    assert engine.stats().free_blocks < engine.stats().num_blocks
    assert engine.abort("running")
    assert engine.abort("waiting")
    assert not engine.abort("running")
    stats = engine.stats()
    assert stats.free_blocks == stats.num_blocks
    assert (stats.aborted, stats.running, stats.waiting) == (2, 0, 0)
    assert not engine.has_work()
    assert engine.step() == []


def test_a_long_prompt_does_not_stall_an_answer(model_path: Path) -> None:
    engine = make_engine(model_path, max_batch_tokens=16, max_batch_sequences=4)
    engine.add("quick", [5], SamplingParams(max_tokens=30, temperature=0.0))
    engine.step()
    engine.add("long", random_prompt(0, 900), GREEDY)
    for _ in range(29):
        assert "quick" in [output.request_id for output in engine.step()]


def test_every_request_ends_whatever_keeps_arriving(model_path: Path) -> None:
    """A long request among ever new short ones, and too few blocks for all: none starves."""
    engine = make_engine(model_path, num_blocks=24, max_batch_tokens=32, max_batch_sequences=8)
    engine.add("long", random_prompt(0, 400), SamplingParams(max_tokens=300, temperature=0.0))
    waited = 0
    done: set[str] = set()
    while "long" not in done:
        if engine.stats().waiting < 5:
            short = SamplingParams(max_tokens=40, temperature=0.0)
            engine.add(f"short {waited}", random_prompt(waited, 30), short)
        done |= {output.request_id for output in engine.step() if output.finish_reason}
        waited += 1
        # 400 prompt tokens in chunks, 300 tokens of answer: nothing else may hold it up.
        assert waited < 340


@pytest.mark.parametrize(
    ("prompt", "params", "message"),
    [
        ([], GREEDY, "no tokens"),
        ([VOCAB], GREEDY, f"from 0 to {VOCAB - 1}"),
        ([-1], GREEDY, f"from 0 to {VOCAB - 1}"),
        ([5], SamplingParams(temperature=float("nan")), "temperature"),
        ([5], SamplingParams(top_p=0.0), "top_p"),
        ([5], SamplingParams(min_tokens=20), "min_tokens"),
        ([5], SamplingParams(logit_bias={VOCAB: 1.0}), "logit_bias"),
        ([5], SamplingParams(logprobs=21), "logprobs"),
        ([5], SamplingParams(max_tokens="many"), "max_tokens"),  # type: ignore[arg-type]
    ],
)
def test_bad_requests_are_refused_in_one_line(
    engine: Engine, prompt: list[int], params: SamplingParams, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        engine.add("r", prompt, params)
    assert "\n" not in str(caught.value)
    assert not engine.has_work()


def test_a_prompt_that_fills_the_context_is_refused(engine: Engine) -> None:
    engine.add("fits", random_prompt(0, 1_023), GREEDY)
    with pytest.raises(PromptTooLong, match="1024 tokens, but this server's context is 1024"):
        engine.add("does not", random_prompt(0, 1_024), GREEDY)
    engine.add("is only read", random_prompt(0, 1_024), SamplingParams(max_tokens=0))


def test_a_request_id_is_used_once_at_a_time(engine: Engine) -> None:
    engine.add("r", [5], GREEDY)
    with pytest.raises(ValueError, match="in use"):
        engine.add("r", [5], GREEDY)


def test_the_queue_has_an_end(model_path: Path) -> None:
    engine = make_engine(model_path, max_batch_sequences=2, max_queue=3)
    for i in range(5):
        engine.add(str(i), [5], GREEDY)
    with pytest.raises(QueueFull):
        engine.add("one more", [5], GREEDY)


def test_counters(model_path: Path) -> None:
    engine = make_engine(model_path)
    run(engine, {"a": Request([5] * 30, GREEDY), "b": Request([6] * 20, GREEDY)})
    stats = engine.stats()
    assert (stats.requests, stats.finished) == (2, 2)
    assert stats.prompt_tokens == 50
    assert stats.generated_tokens == 20
    assert stats.computed_tokens == 50 + 2 * 9
    assert stats.steps >= 10
    assert stats.step_seconds > 0


def test_a_small_prompt_is_answered_while_a_large_one_is_read(model_path: Path) -> None:
    engine = make_engine(model_path, max_batch_tokens=32, max_batch_sequences=16)
    one = SamplingParams(max_tokens=1, temperature=0.0)
    engine.add("large", random_prompt(5, 900), one)
    engine.step()
    engine.add("small", random_prompt(6, 12), one)
    ended = [output.request_id for _ in range(2) for output in engine.step()]
    assert ended == ["small"]
    while engine.has_work():
        ended += [output.request_id for output in engine.step()]
    assert ended == ["small", "large"]
