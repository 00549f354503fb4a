"""The answer depends on the request alone: tokens and log-probabilities equal, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cierzo.engine.sampling_params import SamplingParams
from tests.engine.models import Answer, Request, make_engine, random_prompt, run

TEMPERATURES = [0.0, 1.0]
KV_TYPES = ["int16", "int8"]


def subject(temperature: float) -> Request:
    """The request that is watched: several blocks of prompt and answer."""
    params = SamplingParams(
        max_tokens=60, temperature=temperature, seed=11, logprobs=5, prompt_logprobs=2
    )
    return Request(random_prompt(0, 203), params)


def crowd(count: int) -> dict[str, Request]:
    """Others of every kind, arriving over time."""
    kinds: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"seed": 3, "top_p": 0.9},
        {"seed": 4, "top_k": 20, "repetition_penalty": 1.2},
        {"seed": 5, "logprobs": 20, "min_p": 0.05},
        {"seed": 6, "prompt_logprobs": 0},
    ]
    return {
        f"other {i}": Request(
            random_prompt(i + 1, 5 + 37 * (i % 7)),
            SamplingParams(max_tokens=20 + 7 * (i % 9), **kinds[i % len(kinds)]),
            arrives=3 * (i % 11),
        )
        for i in range(count)
    }


@pytest.fixture(scope="module")
def alone(model_path: Path) -> dict[tuple[float, str], Answer]:
    """What the watched request answers when nothing else is there."""
    return {
        (temperature, kv): run(
            make_engine(model_path, kv_cache_dtype=kv), {"it": subject(temperature)}
        )["it"]
        for temperature in TEMPERATURES
        for kv in KV_TYPES
    }


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("kv", KV_TYPES)
class TestTheSame:
    """As alone, with two threads, in chunks as large as the step takes."""

    def test_again(self, model_path: Path, alone: Any, temperature: float, kv: str) -> None:
        engine = make_engine(model_path, kv_cache_dtype=kv)
        first = run(engine, {"it": subject(temperature)})["it"]
        second = run(engine, {"it": subject(temperature)})["it"]
        assert first == second == alone[temperature, kv]
        assert len(first.token_ids) == len(first.logprobs) == 60
        assert len(first.prompt_logprobs) == 202

    @pytest.mark.parametrize("arrives", [0, 7, 25])
    def test_beside_15_others(
        self, model_path: Path, alone: Any, temperature: float, kv: str, arrives: int
    ) -> None:
        request = subject(temperature)
        request = Request(request.prompt, request.params, arrives)
        answers = run(make_engine(model_path, kv_cache_dtype=kv), {**crowd(15), "it": request})
        assert answers["it"] == alone[temperature, kv]

    @pytest.mark.parametrize("chunk", [1, 7, 31, 32, 33, 100, 203])
    def test_any_prefill_chunk(
        self, model_path: Path, alone: Any, temperature: float, kv: str, chunk: int
    ) -> None:
        engine = make_engine(
            model_path,
            kv_cache_dtype=kv,
            max_batch_tokens=chunk,
            max_batch_sequences=min(chunk, 64),
        )
        assert run(engine, {"it": subject(temperature)})["it"] == alone[temperature, kv]

    @pytest.mark.parametrize("threads", [1, 3])
    def test_any_number_of_threads(
        self, model_path: Path, alone: Any, temperature: float, kv: str, threads: int
    ) -> None:
        engine = make_engine(model_path, kv_cache_dtype=kv, threads=threads)
        assert run(engine, {"it": subject(temperature)})["it"] == alone[temperature, kv]

    @pytest.mark.parametrize("max_batch_tokens", [16, 33, 64])
    def test_beside_a_stream_of_smaller_prompts(
        self, model_path: Path, alone: Any, temperature: float, kv: str, max_batch_tokens: int
    ) -> None:
        """Who take half of each step, as long as the prompt is read."""
        engine = make_engine(
            model_path,
            kv_cache_dtype=kv,
            max_batch_tokens=max_batch_tokens,
            max_batch_sequences=16,
        )
        small = {
            f"small {i}": Request(
                random_prompt(200 + i, 3 + i % 17), SamplingParams(max_tokens=1 + i % 3), arrives=i
            )
            for i in range(40)
        }
        assert run(engine, {"it": subject(temperature), **small})["it"] == alone[temperature, kv]

    @pytest.mark.parametrize("arrives", [1, 5])
    def test_beside_larger_prompts_that_came_before(
        self, model_path: Path, alone: Any, temperature: float, kv: str, arrives: int
    ) -> None:
        """One of which it passes, and another with little room in the cache."""
        engine = make_engine(
            model_path,
            kv_cache_dtype=kv,
            num_blocks=31,
            max_batch_tokens=50,
            max_batch_sequences=16,
        )
        large = {
            f"large {i}": Request(random_prompt(300 + i, 600), SamplingParams(max_tokens=9))
            for i in range(2)
        }
        request = subject(temperature)
        answers = run(engine, {**large, "it": Request(request.prompt, request.params, arrives)})
        assert answers["it"] == alone[temperature, kv]

    @pytest.mark.parametrize("num_blocks", [10, 12, 14])
    def test_after_preemption(
        self, model_path: Path, alone: Any, temperature: float, kv: str, num_blocks: int
    ) -> None:
        engine = make_engine(
            model_path, kv_cache_dtype=kv, num_blocks=num_blocks, max_batch_tokens=64
        )
        older = {
            f"older {i}": Request(
                random_prompt(90 + i, 20),
                SamplingParams(max_tokens=150, temperature=0.0, ignore_eos=True),
            )
            for i in range(2)
        }
        request = subject(temperature)
        answers = run(engine, {**older, "it": Request(request.prompt, request.params, 2)})
        assert engine.stats().preemptions > 0
        assert answers["it"] == alone[temperature, kv]


def test_temperature_one_is_not_greedy(alone: dict[tuple[float, str], Answer]) -> None:
    """Or the equalities above would say nothing about sampling."""
    assert alone[0.0, "int16"].token_ids != alone[1.0, "int16"].token_ids
    assert alone[0.0, "int16"].prompt_logprobs == alone[1.0, "int16"].prompt_logprobs
