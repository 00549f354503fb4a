"""The log: a line for each request and for what goes wrong, and never what a client has sent."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cierzo.api.http.request_log import RequestLog, RequestNotes
from cierzo.log import Log, StderrLog
from tests.api.live import HELLO, Live, start

SECRET = "zarzaparrilla"


@pytest.fixture(scope="module")
def logged(model: Path) -> Iterator[Live]:
    """A server that writes JSON and knows a key."""
    keys = (f"{SECRET}-key",)
    with start(model, server__log_format="json", server__api_keys=keys) as server:
        yield server


def requests_in(server: Live) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in server.lines]
    return [event for event in events if event["event"] == "request"]


def line_of(server: Live, request_id: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [line for line in requests_in(server) if line["id"] == request_id]

    server.until("logged", found)
    return found()[0]


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_a_line_with_what_it_took(logged: Live, stream: bool) -> None:
    sent = {"x-request-id": f"mine-{stream}", "x-api-key": f"{SECRET}-key"}
    body = {"messages": HELLO, "max_tokens": 5, "stream": stream, "n": 2}
    response = logged.post("/api/v1/chat/completions", body, headers=sent)
    assert response.headers["x-request-id"] == f"mine-{stream}"
    line = line_of(logged, f"mine-{stream}")
    assert line["level"] == "info"
    assert (line["method"], line["path"]) == ("POST", "/api/v1/chat/completions")
    assert line["status"] == 200
    assert line["generation"] == response.headers["x-generation-id"]
    if not stream:
        usage = response.json()["usage"]
        assert line["prompt_tokens"] == usage["prompt_tokens"]
        assert line["completion_tokens"] == usage["completion_tokens"]
    assert len(line["outcome"].split(",")) == 2
    assert 0 < line["first_token_seconds"] <= line["seconds"]


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "é".encode().decode("latin-1")])
def test_an_id_that_is_not_plain_is_replaced(logged: Live, sent: str) -> None:
    with logged.client() as client:
        response = client.get("/health", headers={b"x-request-id": sent.encode("latin-1")})
    assert re.fullmatch(r"req-[0-9a-f]{16}", response.headers["x-request-id"])
    assert line_of(logged, response.headers["x-request-id"])["path"] == "/health"


def test_nothing_that_was_sent_is_in_it(logged: Live) -> None:
    key = {"authorization": f"Bearer {SECRET}-key"}
    secret = {"role": "user", "content": SECRET, "name": SECRET}
    tool = {"type": "function", "function": {"name": SECRET, "parameters": {"type": SECRET}}}
    bodies: list[dict[str, Any]] = [
        {"messages": [secret], "max_tokens": 3, "user": SECRET, "session_id": SECRET},
        {"messages": [secret], "max_tokens": 3, "tools": [tool]},
        {"messages": [{**secret, "role": SECRET}]},
        {"messages": [secret], SECRET: SECRET},
        {"messages": [secret], "response_format": {"type": SECRET}},
        {"messages": [secret], "model": SECRET},
        {"messages": [secret] * 40_000},
    ]
    for body in bodies:
        logged.post(f"/v1/chat/completions?{SECRET}={SECRET}", body, headers=key)
    for path in (f"/v1/models/{SECRET}", f"/{SECRET}", f"/v1/{SECRET}?a={SECRET}"):
        with logged.client() as client:
            client.get(path, headers={**key, SECRET: SECRET, "cookie": SECRET})
    logged.post("/v1/chat/completions", bodies[0], headers={"x-api-key": f"{SECRET}-wrong"})
    logged.post("/v1/completions", {"prompt": SECRET, "max_tokens": 2}, headers=key)
    logged.post("/tokenize", {"prompt": SECRET}, headers={**key, "x-request-id": "the-last"})
    line_of(logged, "the-last")
    assert [line for line in logged.lines if SECRET in line] == []


def test_an_engine_that_is_replaced_is_told(model: Path) -> None:
    with start(model) as server:
        os.kill(server.engine_pid(), signal.SIGKILL)
        server.until("told", lambda: any("engine restarted" in line for line in server.lines))
        (failed,) = [line for line in server.lines if "engine failed" in line]
        assert "SIGKILL" in failed
        assert " error " in failed


def test_a_quiet_log_tells_only_what_goes_wrong(model: Path) -> None:
    with start(model, server__log_level="warning") as server:
        server.chat(max_tokens=2)
    assert [line for line in server.lines if " request " in line] == []


@pytest.fixture
def written() -> Iterator[tuple[StderrLog, io.StringIO]]:
    stream = io.StringIO()
    log = StderrLog("info", "text", stream)
    yield log, stream
    log.close()


def test_a_storm_of_refusals_is_few_lines(written: tuple[StderrLog, io.StringIO]) -> None:
    log, stream = written
    counted: list[int] = []
    requests = RequestLog(counted.append)
    for number in range(1_000):
        status = 429 if number % 2 else 404
        notes = RequestNotes("POST", "-", f"r{number}")
        requests.answered(notes, status)
        requests.ended(notes)
    log.close()
    lines = stream.getvalue().splitlines()
    assert len(counted) == 1_000
    assert len(lines) == 12  # five of each, and a line each that the others are counted
    assert sum(" refusals " in line for line in lines) == 2


def test_a_defect_is_told_by_its_places_alone(written: tuple[StderrLog, io.StringIO]) -> None:
    log, stream = written
    try:
        os.environ[SECRET]
    except KeyError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    log.close()
    text = stream.getvalue()
    assert "exception=KeyError" in text
    assert "Traceback" in text
    assert "test_log.py" in text
    assert SECRET not in text


def test_a_reader_that_stops_holds_up_nobody() -> None:
    class Stuck(io.StringIO):
        def write(self, text: str) -> int:
            reached.set()
            go_on.wait()
            return super().write(text)

    reached, go_on = threading.Event(), threading.Event()
    stream = Stuck()
    log = StderrLog("info", "json", stream)
    try:
        for number in range(20_000):
            Log("test").info("event", number=number)
        assert reached.wait(60)
    finally:
        go_on.set()
        log.close()
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert 10_000 <= len(events) < 20_000
