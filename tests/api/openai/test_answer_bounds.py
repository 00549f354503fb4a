"""How long an answer may be: what is asked for, what fits, and what is too little to go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cierzo.api.errors import TOO_FEW_FOR_AGENTS
from tests.api.live import HELLO, NO_END, Live, start

CONTEXT = 128
ENOUGH = CONTEXT // 4  # tokens: a longer bound is cut where so many are left
PATHS = pytest.mark.parametrize("path", ["/v1", "/api/v1"])


@pytest.fixture(scope="module")
def brief(model: Path) -> Iterator[Live]:
    with start(model, engine__max_model_len=CONTEXT) as server:
        yield server


def leaving(server: Live, tokens: int) -> list[Any]:
    """Messages that leave so many tokens of the context."""
    for words in range(CONTEXT):
        messages = [*HELLO, {"role": "user", "content": "a" + " a" * words}]
        body = {"messages": messages, "max_tokens": 1}
        usage = server.post("/v1/chat/completions", body).json()["usage"]
        if CONTEXT - usage["prompt_tokens"] == tokens:
            return messages
    raise AssertionError(f"no prompt leaves {tokens} tokens")


def ask(server: Live, messages: list[Any], path: str = "/v1", **fields: Any) -> Any:
    body = {"messages": messages, "logit_bias": NO_END, **fields}
    return server.post(f"{path}/chat/completions", body)


@PATHS
def test_what_models_advertise_can_be_asked_for(brief: Live, path: str) -> None:
    """Agents take the bound from there, whatever the prompt is."""
    with brief.client() as client:
        (model, _) = client.get(f"{path}/models").json()["data"]
    most = model["top_provider"]["max_completion_tokens"]
    for name in ("max_tokens", "max_completion_tokens"):
        answer = ask(brief, HELLO, path, **{name: most}).json()
        assert answer["usage"]["total_tokens"] == CONTEXT
        assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("bound", [None, -1, CONTEXT, 10**9, 10**30, "512"])
def test_a_bound_that_does_not_fit_is_cut_to_what_is_left(brief: Live, bound: Any) -> None:
    messages = leaving(brief, ENOUGH)
    usage = ask(brief, messages, max_tokens=bound).json()["usage"]
    assert usage["completion_tokens"] == ENOUGH


def test_a_bound_that_fits_is_kept(brief: Live) -> None:
    for left in (ENOUGH, ENOUGH - 1, 5):
        usage = ask(brief, leaving(brief, left), max_tokens=5).json()["usage"]
        assert usage["completion_tokens"] == 5


@PATHS
def test_where_too_little_is_left_agents_are_told_to_compact(brief: Live, path: str) -> None:
    messages = leaving(brief, ENOUGH - 1)
    response = ask(brief, messages, path, max_tokens=CONTEXT)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["metadata"]["error_type"] == "context_length_exceeded"
    assert error["param"] == "messages"
    prompt = CONTEXT - ENOUGH + 1
    assert error["message"] == (
        f"This model's maximum context length is {CONTEXT} tokens. However, you requested "
        f"{prompt + CONTEXT} tokens ({prompt} in the messages, {CONTEXT} in the completion). "
        f"Please reduce the length of the messages or completion. {TOO_FEW_FOR_AGENTS}"
    )
    assert ask(brief, messages, path).json()["usage"]["total_tokens"] == CONTEXT


def test_texts_are_bounded_alike(brief: Live) -> None:
    def text(tokens: int, **fields: Any) -> Any:
        body = {"prompt": [50] * tokens, "logit_bias": NO_END, **fields}
        return brief.post("/v1/completions", body)

    assert text(90, max_tokens=500).json()["usage"]["total_tokens"] == CONTEXT
    assert text(90, max_tokens=-1).json()["usage"]["total_tokens"] == CONTEXT
    assert text(90).json()["usage"]["completion_tokens"] == 16
    assert text(110, max_tokens=500).status_code == 400
    assert text(110, max_tokens=18).json()["usage"]["total_tokens"] == CONTEXT
    assert text(CONTEXT, max_tokens=0, echo=True, logprobs=1).status_code == 200
    assert text(CONTEXT + 1, max_tokens=0, echo=True).status_code == 400
