"""An engine that dies or hangs: running requests are told, the next one is answered."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.api.live import HELLO, NO_END, Live, start
from tests.api.openai.test_structured_output import wanted
from tests.api.openrouter import conforms
from tests.api.tools import TOOLS

ENDLESS: dict[str, Any] = {"messages": HELLO, "max_tokens": 30_000, "logit_bias": NO_END}
LONG_TEXT: dict[str, Any] = {"type": "string", "minLength": 19_000}
FAILURES = pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "died"), (signal.SIGSTOP, "hung")]
)


@pytest.fixture(scope="module")
def fragile(model: Path) -> Iterator[Live]:
    """A server whose engine the tests fail, again and again."""
    with start(model, server__watchdog_seconds=1) as server:
        yield server


def fail_engine(server: Live, number: signal.Signals) -> None:
    server.until("running", lambda: server.metrics()["cierzo_requests_running"] >= 1)
    os.kill(server.engine_pid(), number)


def until_noticed(server: Live, restarts: float) -> None:
    """Waits until health tells of it, or there is a successor already: that may be quicker."""

    def noticed() -> bool:
        if server.health() == (503, "restarting"):
            return True
        return server.metrics()["cierzo_engine_restarts_total"] > restarts

    server.until("noticed", noticed)


@FAILURES
def test_a_stream_ends_with_an_error_and_the_next_request_is_answered(
    fragile: Live, number: signal.Signals, words: str
) -> None:
    path = "/v1/chat/completions" if words == "died" else "/api/v1/chat/completions"
    with (
        fragile.client() as client,
        client.stream("POST", path, json={**ENDLESS, "stream": True}) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        fail_engine(fragile, number)
        last = [line for line in lines if line][-1]
    event = json.loads(last.removeprefix("data: "))
    assert words in event["error"]["message"]
    assert event["error"]["code"] == ("engine_error" if words == "died" else 502)
    assert event["error"]["metadata"]["provider_code"] == "engine_error"
    (choice,) = event["choices"]
    assert choice.pop("native_finish_reason") == "error"
    assert choice == {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    if words == "hung":
        conforms("ChatStreamChunk", event)
    answer = fragile.chat(max_tokens=4)
    assert answer.status_code == 200
    fragile.until("ready", fragile.is_ready)
    fragile.until_idle()


def one_of_many(server: Live, number: int) -> tuple[int, list[dict[str, Any]]]:
    """Asks for an answer under a constraint, of some kind; the status, and what came of it."""
    body: dict[str, Any] = {"messages": HELLO, "max_tokens": 1_500, "seed": number}
    if number % 3 == 0:
        body |= {"tools": TOOLS, "tool_choice": "required"}
    elif number % 3 == 1:
        body |= {"response_format": wanted(LONG_TEXT)}
    else:
        body |= {"response_format": wanted({**LONG_TEXT, "not": {"const": "x"}})}
    if number % 4 == 0:
        body["n"] = 4
    if number % 2:
        response = server.post("/v1/chat/completions", body)
        return response.status_code, [response.json()]
    response = server.post("/v1/chat/completions", {**body, "stream": True})
    if response.status_code != 200:
        return response.status_code, [response.json()]
    lines = [line for line in response.text.split("\n") if line.startswith("data: {")]
    return 200, [json.loads(line.removeprefix("data: ")) for line in lines]


@FAILURES
def test_many_answers_under_constraints_end_clearly_and_once(
    fragile: Live, number: signal.Signals, words: str
) -> None:
    before = fragile.metrics()["cierzo_engine_restarts_total"]
    with ThreadPoolExecutor(24) as threads:
        asked = [threads.submit(one_of_many, fragile, n) for n in range(24)]
        fragile.until("running", lambda: fragile.metrics()["cierzo_requests_running"] >= 12)
        os.kill(fragile.engine_pid(), number)
        answers = [task.result(120) for task in asked]
    failed = 0
    for status, objects in answers:
        errors = [item["error"] for item in objects if "error" in item]
        failed += bool(errors)
        assert len(errors) <= 1
        if errors:
            assert objects[-1].get("error"), "nothing follows an error"
            assert words in errors[0]["message"]
            assert status in (200, 502, 503)
            continue
        ended = [
            choice["index"]
            for item in objects
            for choice in item["choices"]
            if choice.get("finish_reason")
        ]
        assert len(ended) == len(set(ended)), "an answer ends once"
    assert failed  # of those under way; what the engine had not seen goes to its successor
    assert fragile.chat(max_tokens=4).status_code == 200
    fragile.until("ready", fragile.is_ready)
    fragile.until_idle()
    assert fragile.metrics()["cierzo_engine_restarts_total"] == before + 1
    assert len(fragile.engine_pids()) == 1


@FAILURES
def test_a_whole_answer_becomes_a_502_and_health_tells(
    fragile: Live, number: signal.Signals, words: str
) -> None:
    before = fragile.metrics()["cierzo_engine_restarts_total"]
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(fragile.post, "/v1/chat/completions", ENDLESS)
        fail_engine(fragile, number)
        until_noticed(fragile, before)
        response = answer.result(30)
    assert response.status_code == 502
    assert words in response.json()["error"]["message"]
    assert int(response.headers["retry-after"]) >= 1
    fragile.until("ready", fragile.is_ready)


def test_the_official_client_does_not_notice(fragile: Live) -> None:
    """It tries again after an error of the server's, and is answered then."""
    before = fragile.metrics()["cierzo_engine_restarts_total"]
    with openai.OpenAI(base_url=f"{fragile.url}/v1", api_key="none", timeout=240) as client:
        os.kill(fragile.engine_pid(), signal.SIGKILL)
        answer = client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=4)
    assert answer.choices[0].message.role == "assistant"
    assert fragile.metrics()["cierzo_engine_restarts_total"] == before + 1
    fragile.until("ready", fragile.is_ready)


def test_a_successor_answers_in_the_wanted_format(model: Path) -> None:
    """It is told the vocabulary, and compiles what was waiting for it."""
    schema = {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}
    format = {"type": "json_schema", "json_schema": {"name": "pair", "schema": schema}}
    with start(model) as server:
        for restarts in range(2):
            os.kill(server.engine_pid(), signal.SIGKILL)
            until_noticed(server, restarts)
            answer = server.chat(response_format=format, max_tokens=50)
            assert answer.status_code == 200, answer.text
            value = json.loads(answer.json()["choices"][0]["message"]["content"])
            assert len(value) == 2
            server.until("ready", server.is_ready)
