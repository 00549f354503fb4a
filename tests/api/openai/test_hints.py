"""How clients say that a prompt will be asked again, in the words of several APIs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cierzo.api.openai.reading.hints import hints_of
from cierzo.api.openai.wire.chat import ChatRequest
from cierzo.api.openai.wire.completions import CompletionRequest
from cierzo.api.openai.wire.decode import decode_request
from cierzo.api.openai.wire.foreign import RequestDecoder
from cierzo.engine.cache.hints import NO_HINTS, Hints
from cierzo.settings import Limits
from tests.api.live import HELLO, Live

_CHAT, _COMPLETION = RequestDecoder(ChatRequest), RequestDecoder(CompletionRequest)
HOUR = {"type": "ephemeral", "ttl": "1h"}
TOOL = {"type": "function", "function": {"name": "f"}}


def hints(header: str | None = None, **fields: Any) -> Hints:
    body = json.dumps({"messages": HELLO, **fields}).encode()
    return hints_of(decode_request(body, _CHAT, Limits()), header)


def said(content: Any, **message: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content, **message}]}


@pytest.mark.parametrize(
    "fields",
    [
        {"cache_control": HOUR},
        {"prompt_cache_options": {"mode": "explicit", "ttl": "60m"}},
        {"tools": [TOOL, {**TOOL, "cache_control": HOUR}]},
        said([{"type": "text", "text": "a", "cache_control": HOUR}, {"type": "text", "text": "b"}]),
        said("a", cache_control=HOUR),
        {
            "cache_control": {"type": "ephemeral", "ttl": "5m"},
            "tools": [{**TOOL, "cache_control": HOUR}],
        },
    ],
)
def test_an_hour(fields: dict[str, Any]) -> None:
    assert hints(**fields) == Hints(seconds=3_600.0)


def test_a_day() -> None:
    assert hints(prompt_cache_retention="24h").seconds == 86_400


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"cache_control": {"type": "ephemeral"}},
        {"cache_control": {"ttl": 7}},
        {"cache_control": {"ttl": "for ever"}},
        {"cache_control": "1h"},
        {"cache_control": {"ttl": "1h", "more": "x" * 10_000}},
        {"prompt_cache_retention": "in_memory"},
        {"prompt_cache_retention": {"a": 1}},
        {"prompt_cache_options": []},
        {"session_id": None, "prompt_cache_key": ""},
        {"session_id": 7, "prompt_cache_key": ["k"]},
        {"session_id": "x" * 10_000},
        said('{"cache_control": {"ttl": "1h"}}'),
        said([{"type": "text", "text": "a", "cache_control": {"ttl": ["1h"]}}]),
    ],
)
def test_what_says_nothing(fields: dict[str, Any]) -> None:
    assert hints(**fields) == NO_HINTS


def test_a_session_has_one_name_wherever_it_is_said() -> None:
    name = hints(session_id="s").session
    assert name
    assert hints(header="s").session == hints(prompt_cache_key="s").session == name
    assert hints(header="t", session_id="s", prompt_cache_key="u").session == name
    assert hints(session_id="t").session != name


def test_texts_have_hints_too() -> None:
    body = json.dumps({"prompt": "a", "session_id": "s", "prompt_cache_retention": "24h"}).encode()
    request = decode_request(body, _COMPLETION, Limits())
    assert hints_of(request, None) == Hints(hints(session_id="s").session, 86_400)


def test_hints_change_no_answer(server: Live) -> None:
    asked = {"messages": HELLO, "max_tokens": 8, "seed": 3}
    plain = server.chat(**asked).json()["choices"]
    hinted = {"session_id": "s", "cache_control": HOUR, "prompt_cache_retention": "24h"}
    assert server.chat(**asked, **hinted).json()["choices"] == plain
    assert server.chat(**asked, **hinted, n=3).json()["choices"][0] == plain[0]
