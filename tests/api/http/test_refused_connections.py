"""What is refused before the app sees a request is counted and logged like every other answer."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.live import Live, start
from tests.api.wire import read_all

SECRET = b"zarzaparrilla"
BODY_TO_COME = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"X-Request-Id: mine\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.fixture
def logged(model: Path) -> Iterator[Live]:
    """A server of its own: of many refusals with one status, only the first are lines."""
    with start(model, server__log_format="json") as server:
        yield server


def test_a_head_is_counted_and_logged(logged: Live) -> None:
    for sent, status in (
        (b"%b / HTTP/1.1\r\n\r\n" % SECRET, 400),
        (b"CONNECT %b:1 HTTP/1.1\r\nHost: localhost\r\n\r\n" % SECRET, 400),
        (b"GET /%b HTTP/1.1\r\nX: %b" % (SECRET, SECRET * 10_000), 431),
    ):
        before = answers_with(logged, status)
        line = line_of(logged, refused(logged, status, sent))
        assert (line["method"], line["path"], line["status"]) == ("-", "-", status)
        assert answers_with(logged, status) == before + 1
    assert [line for line in logged.lines if SECRET.decode() in line] == []


@pytest.mark.parametrize("pause", [0, 0.2], ids=["with the head", "once it is read"])
def test_a_body_that_is_no_http_is_one_answer(logged: Live, pause: float) -> None:
    request_id = refused(logged, 400, BODY_TO_COME, SECRET + b"\r\n", pause=pause)
    assert request_id == "mine"
    line = line_of(logged, request_id)
    assert (line["method"], line["path"]) == ("POST", "/v1/chat/completions")
    assert line["status"] == 400
    assert answers_with(logged, 400) == 1


def refused(server: Live, status: int, *parts: bytes, pause: float = 0) -> str:
    """Sends these bytes on a connection of their own. Returns the id in the answer."""
    with server.connect() as connection:
        if pause:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        else:
            connection.sendall(b"".join(parts))
        head = read_all(connection).partition(b"\r\n\r\n")[0].decode()
    first, *lines = head.split("\r\n")
    assert first.split()[1] == str(status)
    return dict(line.split(": ", 1) for line in lines)["x-request-id"]


def line_of(server: Live, request_id: str) -> dict[str, Any]:
    """The one line of a request."""
    lines: list[dict[str, Any]] = []

    def logged() -> bool:
        events = [json.loads(line) for line in server.lines]
        lines[:] = [event for event in events if event.get("id") == request_id]
        return bool(lines)

    server.until("logged", logged)
    (line,) = lines
    return line


def answers_with(server: Live, status: int) -> float:
    return server.metrics().get(f'cierzo_http_responses_total{{status="{status}"}}', 0.0)
