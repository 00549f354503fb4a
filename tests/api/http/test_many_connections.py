"""More connections than are of use: idle ones, slow readers, and none left for anyone."""

from __future__ import annotations

import resource
import select
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.api.http.test_hostile_sockets import memory_mb
from tests.api.live import HANGS_SECONDS, HELLO, NO_END, Live, send_chat, start
from tests.api.wire import parse, read_all, read_one, with_headers

IDLE = 2_000
FILES = 128  # descriptors of a server that has few; half of them may be connections
LONG: dict[str, Any] = {"messages": HELLO, "stream": True, "max_tokens": 30_000, "seed": 1}
LOUD = {**LONG, "logit_bias": NO_END, "logprobs": True, "top_logprobs": 20}


@contextmanager
def many(server: Live, count: int) -> Iterator[list[socket.socket]]:
    """Connections that say nothing; the server may have refused some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 200:
        pytest.skip("these tests themselves may not have so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
    try:
        with ExitStack() as stack:
            yield [stack.enter_context(server.connect()) for _ in range(count)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def descriptors(server: Live) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def test_two_thousand_idle_connections(model: Path) -> None:
    """They cost little, hold up nobody, and leave nothing behind."""
    with start(model, limits__request_seconds=3_600) as server:
        assert server.chat(max_tokens=1).status_code == 200
        files, memory = descriptors(server), memory_mb(server)
        with many(server, IDLE) as connections:
            server.until("accepted", lambda: descriptors(server) >= IDLE)
            assert server.chat(max_tokens=5).status_code == 200
            assert memory_mb(server) < memory + IDLE * 0.02
            for connection in connections[::10]:  # any of them can still be used
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for connection in connections[::10]:
                assert read_one(connection).startswith(b"HTTP/1.1 200 ")
        server.until("let go", lambda: descriptors(server) <= files + 1)
        assert server.chat(max_tokens=1).status_code == 200


def test_idle_connections_end_after_a_while(model: Path) -> None:
    with start(model, limits__request_seconds=1) as server, many(server, 50) as connections:
        for connection in connections:
            assert connection.recv(1) == b""


def test_one_too_many_is_told(model: Path) -> None:
    """Those who have a connection keep it, and one that ends makes room."""
    with start(model, files=FILES) as server:
        body = b'{"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}'
        with server.connect() as kept, many(server, FILES // 2 + 20) as connections:
            kept.sendall(with_headers("Connection: keep-alive", body=body))
            assert read_one(kept).startswith(b"HTTP/1.1 200 ")
            refused = select.select(connections, [], [], HANGS_SECONDS)[0]
            assert refused
            reply = parse(read_all(refused[0]))
            assert reply.status == 503
            assert reply.headers["retry-after"] == "1"
            kept.sendall(with_headers(body=body))
            assert parse(read_all(kept)).status == 200
        server.until("room", lambda: descriptors(server) < FILES // 2)
        assert server.chat(max_tokens=1).status_code == 200
        assert [line for line in server.lines if "Traceback" in line] == []


def test_a_server_out_of_descriptors_recovers(model: Path) -> None:
    """Far more connections than it can have: it says so once, serves on, and takes new ones."""
    with start(model, files=FILES) as server, server.connect() as kept:
        kept.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_one(kept).startswith(b"HTTP/1.1 200 ")
        with many(server, 6 * FILES):
            kept.sendall(
                with_headers(body=b'{"messages": [{"role": "user", "content": "a"}], "seed": 1}')
            )
            assert parse(read_all(kept)).status == 200
        server.until("ready again", lambda: answers(server))
        assert server.chat(max_tokens=1).status_code == 200
        assert [line for line in server.lines if "Traceback" in line] == []
        assert len([line for line in server.lines if "out of file descriptors" in line]) <= 1


@pytest.mark.parametrize("reset", [False, True])
def test_one_too_many_that_has_gone_before_it_is_told(model: Path, reset: bool) -> None:
    """Half of a crowd is refused, and nobody is there any more; the log has nothing of it."""
    with start(model, files=FILES) as server:
        server.signal(signal.SIGSTOP)
        with many(server, FILES) as connections:
            for connection in connections if reset else ():
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.signal(signal.SIGCONT)
        server.until("ready again", lambda: answers(server))
        assert server.chat(max_tokens=1).status_code == 200
        assert [line for line in server.lines if "Exception" in line or "Traceback" in line] == []


def answers(server: Live) -> bool:
    """Whether a new connection is served; one may still be refused while others go."""
    with server.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        data = read_all(connection)
    return data.startswith(b"HTTP/1.1 200 ")


def test_descriptors_taken_away_while_it_runs(model: Path) -> None:
    """Not even its own count of connections helps it then: it waits until some are free."""
    with start(model) as server:
        files = descriptors(server)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (files + 5, files + 5))
        with many(server, 40) as connections:
            server.until(
                "said", lambda: any("out of file descriptors" in line for line in server.lines)
            )
            connections[0].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_one(connections[0]).startswith(b"HTTP/1.1 200 ")
        server.until("ready again", lambda: answers(server))
        assert len([line for line in server.lines if "out of file descriptors" in line]) == 1


def test_clients_that_stop_reading_hold_up_nobody(model: Path) -> None:
    """What is kept for them is bounded, others are served beside them, and they are cut off."""
    with start(model, limits__request_seconds=2, engine__max_model_len=32_768) as server:
        before = memory_mb(server)
        with ExitStack() as stack:
            slow = [stack.enter_context(server.connect()) for _ in range(8)]
            for connection in slow:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                send_chat(connection, LOUD)
            server.until("running", lambda: server.metrics()["cierzo_requests_running"] == 8)
            assert server.chat(max_tokens=5).status_code == 200
            server.until("cut off", lambda: server.metrics()["cierzo_requests_running"] == 0)
            assert memory_mb(server) < before + 100
            for connection in slow:
                assert b"[DONE]" not in read_all(connection)
        server.until_idle()
        assert server.chat(max_tokens=1).status_code == 200
