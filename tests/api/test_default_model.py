"""The embedded default model, through the server: sense, not noise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cierzo.engine.drafts.drafter import TRIED
from cierzo.model.fetch.registry import resolve
from tests.api.live import Live, start


@pytest.fixture(scope="module")
def smollm2() -> Iterator[Live]:
    with start(resolve("smollm2-135m").path, engine__kv_cache_memory_mb=256) as server:
        yield server


def test_it_chats(smollm2: Live) -> None:
    question = [{"role": "user", "content": "Write one sentence about the wind."}]
    body = {"messages": question, "temperature": 0, "max_tokens": 60}
    answer = smollm2.post("/v1/chat/completions", body).json()["choices"][0]
    assert answer["message"]["content"].startswith("The wind is a")
    assert answer["message"]["content"].endswith(".")
    assert answer["finish_reason"] == "stop"


def test_it_continues_a_text(smollm2: Live) -> None:
    body = {"prompt": "One, two, three, four,", "temperature": 0, "max_tokens": 8}
    answer = smollm2.post("/v1/completions", body).json()
    assert answer["choices"][0]["text"].startswith(" five, six")


def test_a_likely_text_scores_above_an_unlikely_one(smollm2: Live) -> None:
    def score(prompt: str) -> float:
        body = {"prompt": prompt, "max_tokens": 0, "echo": True, "logprobs": 0}
        table = smollm2.post("/v1/completions", body).json()["choices"][0]["logprobs"]
        return sum(table["token_logprobs"][1:])

    assert score("The sky is blue.") > score("The sky is bread.")


def test_an_agent_is_told_that_the_context_is_too_small_for_it(smollm2: Live) -> None:
    """When the server starts, and again where a first turn does not fit."""
    assert any(
        line.startswith("the context is 8,192 tokens. Most coding agents need more: serve devstral")
        for line in smollm2.lines
    )
    prompt = [{"role": "system", "content": "You are a coding agent. " * 2_000}]
    error = smollm2.post("/v1/chat/completions", {"messages": prompt}).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert error["message"].startswith("This model's maximum context length is 8192 tokens. ")
    assert "serve devstral-small, whose context is 131,072 tokens" in error["message"]


def test_what_is_said_as_predicted_is_drafted(smollm2: Live) -> None:
    question = [{"role": "user", "content": "Write three sentences about the sea."}]
    body = {"messages": question, "temperature": 0, "max_tokens": 80}
    first = smollm2.post("/v1/chat/completions", body).json()
    text = first["choices"][0]["message"]["content"]
    body["prediction"] = {"type": "content", "content": text}
    again = smollm2.post("/v1/chat/completions", body).json()
    assert again["choices"] == first["choices"]
    details = again["usage"]["completion_tokens_details"]
    # All of them where a step costs what it should; on a machine that stands still now and then,
    # at least what is tried to see whether it pays.
    assert details["accepted_prediction_tokens"] >= TRIED
