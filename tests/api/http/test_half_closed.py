"""Clients that shut their sending side are served; those that are gone are not worked for."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from cierzo.api.http import peer
from tests.api.live import HELLO, NO_END, Live, chat_request
from tests.api.test_clients import cancelled, running
from tests.api.wire import exchange, half_closed, parse, read_all, short_chat, with_headers

ENDLESS = {"max_tokens": 30_000, "logit_bias": NO_END}
LONG = {"max_tokens": 1_500, "logit_bias": NO_END, "seed": 1}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("length", [{"max_tokens": 1, "seed": 1}, LONG], ids=["short", "long"])
def test_half_a_connection_gets_the_whole_answer(
    server: Live, stream: bool, length: dict[str, object]
) -> None:
    """As `nc -N` sends it; and nothing but the answer comes, however long it takes."""
    with half_closed(server, stream=stream, **length) as connection:
        reply = parse(read_all(connection))
    assert reply.status == 200
    assert reply.headers["connection"] == "close"
    if stream:
        assert reply.body.endswith(b"data: [DONE]\n\n")
    else:
        assert reply.json()["usage"]["completion_tokens"] == length["max_tokens"]
    server.until_idle()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("path", ["/health", "/v1/models", "/nothing"])
def test_half_a_connection_gets_short_answers(server: Live, path: str, version: str) -> None:
    with server.connect() as connection:
        connection.sendall(f"GET {path} HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        assert parse(read_all(connection)).status == (404 if path == "/nothing" else 200)


def test_half_a_connection_gets_its_refusal(server: Live) -> None:
    with half_closed(server, temperature=9) as connection:
        assert parse(read_all(connection)).status == 400


def test_a_body_that_was_cut_is_not_taken_for_whole(server: Live) -> None:
    before = server.metrics()["cierzo_requests_running"]
    with server.connect() as connection:
        connection.sendall(with_headers("Content-Length: 1000", body=short_chat()))
        connection.shutdown(socket.SHUT_WR)
        assert b"200 OK" not in read_all(connection)
    assert server.metrics()["cierzo_requests_running"] == before


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shut_first", [False, True])
@pytest.mark.parametrize("reset", [False, True])
def test_a_client_that_has_gone_is_not_worked_for(
    server: Live, stream: bool, shut_first: bool, reset: bool
) -> None:
    """Whether it closes or resets, at once or after it shut its sending side; counted once."""
    before = cancelled(server)
    connection = server.connect()
    connection.sendall(chat_request({"messages": HELLO, "stream": stream, **ENDLESS}))
    if shut_first:
        connection.shutdown(socket.SHUT_WR)
    server.until("running", lambda: running(server))
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    server.until_idle()
    assert cancelled(server) == before + 1


def test_one_client_s_end_is_not_another_s(server: Live) -> None:
    with half_closed(server, **LONG) as stays:
        half_closed(server, **ENDLESS).close()
        assert parse(read_all(stays)).status == 200
    server.until_idle()


def test_an_answer_is_the_same_over_half_a_connection(server: Live) -> None:
    with half_closed(server, **LONG) as connection:
        half = parse(read_all(connection)).json()
    body = short_chat(**LONG)
    whole = exchange(server, with_headers(body=body)).json()
    assert half["choices"] == whole["choices"]


@pytest.fixture(params=["127.0.0.1", "::1"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection within this machine: the server's end, and the client's."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        listening = socket.create_server((request.param, 0), family=family)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listening, socket.create_connection(listening.getsockname()[:2]) as client:
        accepted, _ = listening.accept()
        with accepted:
            yield accepted, client


def test_the_kernel_knows_who_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    accepted, client = pair
    if peer.has_gone(accepted) is None:
        pytest.skip("this kernel does not say")
    assert peer.has_gone(accepted) is False
    client.shutdown(socket.SHUT_WR)
    assert peer.has_gone(accepted) is False
    second = socket.socket(fileno=client.detach())  # as a child process holds it
    copy = second.dup()
    second.close()
    assert peer.has_gone(accepted) is False
    copy.close()
    assert peer.has_gone(accepted) is True


def test_a_reset_is_seen(pair: tuple[socket.socket, socket.socket]) -> None:
    accepted, client = pair
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert peer.has_gone(accepted) is True
