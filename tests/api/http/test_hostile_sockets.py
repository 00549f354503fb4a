"""Connections that no client library makes: too large, too slow, cut off, or not HTTP at all."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cierzo.api.http.body import HELD_BODIES
from tests.api.live import HANGS_SECONDS, HELLO, NO_END, Live, chat_request, send_chat, start
from tests.api.wire import read_all, read_one

MB = 1 << 20
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)


@pytest.fixture
def connection(server: Live) -> Iterator[socket.socket]:
    with server.connect() as connected:
        yield connected


def send_in_background(connection: socket.socket, data: bytes) -> None:
    """Sends as far as the server lets it."""

    def send() -> None:
        with contextlib.suppress(OSError):
            connection.sendall(data)

    threading.Thread(target=send, daemon=True).start()


def memory_mb(server: Live) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def assert_error(answer: bytes, status: int) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"connection: close" in head.lower()
    assert json.loads(body)["error"]["message"]


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * (20 * MB),
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * (3 * MB),
        b"GET /" + b"a" * (20 * MB),
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
    ids=["one header", "many headers", "path", "whole"],
)
def test_a_head_over_the_limit(server: Live, connection: socket.socket, head: bytes) -> None:
    before = memory_mb(server)
    send_in_background(connection, head)
    assert_error(read_all(connection), 431)
    assert memory_mb(server) < before + 10


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit(server: Live, connection: socket.socket, declared: bool) -> None:
    before = memory_mb(server)
    body = b'{"messages": "' + b"a" * (50 * MB)
    if declared:
        data = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        chunk = b"%x\r\n" % MB + body[:MB] + b"\r\n"
        data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 50
    send_in_background(connection, data)
    assert_error(read_all(connection), 413)
    assert memory_mb(server) < before + (10 if declared else 80)


@pytest.mark.parametrize(
    ("first", "drip"),
    [
        (b"", b""),
        (b"GET /hea", b"l"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n"),
        (b"", b"\r\n"),
    ],
    ids=["silence", "path", "headers", "empty lines"],
)
def test_a_head_that_trickles(
    server: Live, connection: socket.socket, first: bytes, drip: bytes
) -> None:
    """Cuts after the 2 s that this server allows, however often a byte comes."""
    connection.sendall(first)
    connection.settimeout(0.1)
    answer, end = b"", time.monotonic() + HANGS_SECONDS
    while time.monotonic() < end:
        try:
            connection.sendall(drip)
            chunk = connection.recv(65_536)
        except TimeoutError:
            continue
        except OSError:
            break
        if not chunk:
            break
        answer += chunk
    else:
        pytest.fail("the connection was never closed")
    if first:
        assert_error(answer, 408)


def test_a_body_that_trickles(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")
    connection.settimeout(0.1)
    answer, end = b"", time.monotonic() + HANGS_SECONDS
    while b"\r\n\r\n" not in answer and time.monotonic() < end:
        connection.sendall(b" ")
        try:
            answer += connection.recv(65_536)
        except TimeoutError:
            continue
    connection.settimeout(HANGS_SECONDS)
    connection.shutdown(socket.SHUT_WR)
    assert_error(answer + read_all(connection), 408)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"hello\r\n\r\n",
        b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    ],
)
def test_what_is_not_http(connection: socket.socket, garbage: bytes) -> None:
    connection.sendall(garbage)
    assert_error(read_all(connection), 400)


def test_garbage_behind_a_request_does_not_harm_it(connection: socket.socket) -> None:
    request = chat_request({"messages": HELLO, "max_tokens": 20, "logit_bias": NO_END})
    connection.sendall(request + b"\x00\xff garbage \r\n\r\n" + request * 100)
    head, _, answer = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(answer)["usage"]["completion_tokens"] == 20


def test_pipelining_does_not_hide_a_disconnect(server: Live, connection: socket.socket) -> None:
    request = chat_request({"messages": HELLO, "max_tokens": 30_000, "logit_bias": NO_END})
    connection.sendall(request + request)
    server.until("running", lambda: server.metrics()["cierzo_requests_running"] == 1)
    connection.close()
    server.until_idle()


def test_a_client_that_stops_reading_is_cut_off(server: Live, connection: socket.socket) -> None:
    fields = {"max_tokens": 30_000, "logit_bias": NO_END, "logprobs": True, "top_logprobs": 20}
    send_chat(connection, {"messages": HELLO, "stream": True, **fields})
    server.until("running", lambda: server.metrics()["cierzo_requests_running"] == 1)
    server.until_idle()
    assert not read_all(connection).endswith(b"0\r\n\r\n")


def test_an_upgrade_is_not_followed(connection: socket.socket) -> None:
    connection.sendall(
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    assert read_one(connection).startswith(b"HTTP/1.1 200 ")
    connection.sendall(b"\x81\x05hello" * 10)
    read_all(connection)


def test_bodies_that_wait_are_bounded_together(model: Path) -> None:
    """So many of the largest size may be in memory; one more is asked to come back."""
    with (
        start(model, limits__body_bytes=1024, limits__request_seconds=3_600) as server,
        ExitStack() as open_connections,
    ):
        connections = [
            open_connections.enter_context(server.connect()) for _ in range(HELD_BODIES + 1)
        ]
        for connection in connections:
            connection.sendall(HEAD + b"Content-Length: 1024\r\n\r\n" + b" " * 1000)
        readable, _, _ = select.select(connections, [], [], HANGS_SECONDS)
        assert len(readable) == 1
        refused = read_one(readable[0])
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in refused
        for connection in connections:
            connection.close()
        exact = json.dumps({"messages": HELLO, "max_tokens": 1}).encode().ljust(1024)
        headers = {"content-type": "application/json"}
        with server.client() as client:
            answer = client.post("/v1/chat/completions", content=exact, headers=headers)
            assert answer.status_code == 200
            answer = client.post("/v1/chat/completions", content=exact + b" ", headers=headers)
            assert answer.status_code == 413


def test_after_all_this_the_server_is_well(server: Live) -> None:
    assert server.health() == (200, "ready")
    assert server.chat(max_tokens=1).status_code == 200
    assert [line for line in server.lines if "Traceback" in line] == []
