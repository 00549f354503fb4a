"""HTTP as real stacks speak it: offers to upgrade, HTTP/1.0, HEAD, odd heads and bodies."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

from tests.api.live import HELLO, Live
from tests.api.wire import Reply, exchange, parse, read_all, read_one, short_chat, with_headers

CHAT = "/v1/chat/completions"
JAVA = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")
WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")


def text_of(reply: Reply) -> str:
    """What an answer says, streamed or not."""
    assert reply.status == 200, reply.raw
    if "event-stream" not in reply.headers["content-type"]:
        text: str = reply.json()["choices"][0]["message"]["content"]
        return text
    lines = reply.body.decode().split("\n")
    data = [line[6:] for line in lines if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    return "".join(json.loads(d)["choices"][0]["delta"].get("content", "") for d in data)


def expected(server: Live) -> str:
    return text_of(exchange(server, with_headers(body=short_chat())))


@pytest.mark.parametrize("offer", [JAVA, WEBSOCKET, ("Connection: upgrade", "Upgrade: TLS/1.0")])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_offer_to_upgrade_does_not_lose_the_body(
    server: Live, offer: tuple[str, ...], stream: bool, chunked: bool
) -> None:
    body = short_chat(stream=stream)
    close = f"{offer[0]}, close"
    if chunked:
        framed = b"%x;a=b\r\n" % 10 + body[:10] + b"\r\n%X\r\n" % len(body[10:]) + body[10:]
        framed += b"\r\n0\r\n\r\n"
        request = with_headers(close, *offer[1:], "Transfer-Encoding: chunked", body=framed)
    else:
        request = with_headers(close, *offer[1:], body=body)
    assert text_of(exchange(server, request)) == expected(server)


def test_an_upgrade_whose_body_comes_in_pieces_and_a_request_behind_it(server: Live) -> None:
    """The connection stays one of HTTP/1.1, and can be used again."""
    body = short_chat()
    first = with_headers(*JAVA, body=body)
    with server.connect() as connection:
        for start in range(0, len(first), 40):
            connection.sendall(first[start : start + 40])
            time.sleep(0.001)
        assert text_of(parse(read_one(connection))) == expected(server)
        connection.sendall(with_headers(body=body))
        assert text_of(parse(read_all(connection))) == expected(server)


@pytest.mark.parametrize("host", [True, False])
@pytest.mark.parametrize("keep", ["", "Connection: keep-alive\r\n"])
def test_a_client_of_http_1_0_gets_no_chunks(server: Live, host: bool, keep: str) -> None:
    """Its stream ends with the connection. It need not name a host: no browser speaks 1.0."""
    for stream in (False, True):
        body = short_chat(stream=stream)
        head = f"POST {CHAT} HTTP/1.0\r\n" + "Host: localhost\r\n" * host + keep
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        reply = exchange(server, head.encode() + body)
        assert "transfer-encoding" not in reply.headers
        assert reply.headers["connection"] == "close"
        assert text_of(reply) == expected(server)


def test_http_1_0_has_neither_chunks_nor_expectations(server: Live) -> None:
    head = f"POST {CHAT} HTTP/1.0\r\nContent-Type: application/json\r\n"
    body = short_chat()
    expecting = f"{head}Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    assert text_of(exchange(server, expecting)) == expected(server)
    chunked = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    reply = exchange(server, chunked)
    assert reply.status == 400
    assert "HTTP/1.0" in reply.error()


def test_another_host_is_refused_in_http_1_0_too(server: Live) -> None:
    assert exchange(server, b"GET /v1/models HTTP/1.0\r\nHost: evil.example\r\n\r\n").status == 403
    assert exchange(server, b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n").status == 400


@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue", "something-else"])
def test_expectations(server: Live, expectation: str) -> None:
    """A client that waits to be asked for its body is asked; one that expects more is served."""
    body = short_chat()
    request = with_headers(f"Expect: {expectation}", body=body)
    head, body = request[: -len(body)], request[-len(body) :]
    with server.connect() as connection:
        connection.sendall(head)
        if expectation.lower() == "100-continue":
            assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert text_of(parse(read_all(connection))) == expected(server)


def test_a_body_that_will_be_refused_is_not_asked_for(server: Live) -> None:
    head = with_headers("Expect: 100-continue", "Content-Length: 99999999999", body=b"")
    with server.connect() as connection:
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        assert parse(read_all(connection)).status == 413


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/models",
        "/v1/models/tiny",
        "/api/v1/models",
        "/health",
        "/metrics",
        "/openapi.json",
    ],
)
def test_head_is_get_without_a_body(server: Live, path: str) -> None:
    with server.client() as client:
        head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":
        assert head.headers["content-length"] == get.headers["content-length"]


def test_a_head_leaves_the_connection_usable(server: Live) -> None:
    with server.connect() as connection:
        connection.sendall(b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(65_536).endswith(b"\r\n\r\n")
        connection.sendall(
            b"HEAD /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        reply = parse(read_all(connection))
    assert (reply.status, reply.body) == (404, b"")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("HEAD", CHAT, {"POST"}),
        ("GET", CHAT, {"POST"}),
        ("OPTIONS", CHAT, {"POST"}),
        ("OPTIONS", "/v1/models", {"GET", "HEAD"}),
        ("POST", "/v1/models", {"GET", "HEAD"}),
        ("PUT", "/", {"GET", "HEAD"}),
    ],
)
def test_another_method_is_told_what_is_allowed(
    server: Live, method: str, path: str, allowed: set[str]
) -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    headers["content-type"] = "application/json"
    with server.client() as client:
        response = client.request(method, path, headers=headers)
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == allowed
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "case",
    [
        ("CONTENT-LENGTH: {n}",),
        ("content-length:{n}", "accept:*/*"),
        ("Content-Length:    {n}   ", "X-Empty:"),
    ],
)
def test_names_of_headers_in_any_case(server: Live, case: tuple[str, ...]) -> None:
    body = short_chat()
    lines = [line.format(n=len(body)) for line in case]
    assert text_of(exchange(server, with_headers(*lines, body=body))) == expected(server)


CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "body", "words"),
    [
        (("Content-Length: 2", "Content-Length: 2"), b"{}", "Content-Length"),
        (("Content-Length: 2", "Content-Length: 3"), b"{} ", "Content-Length"),
        (("Content-Length: 2, 2",), b"{}", "Content-Length"),
        (("Content-Length: +2",), b"{}", "Content-Length"),
        (("Content-Length: 0x2",), b"{}", "Content-Length"),
        (("Content-Length: 99999999999999999999999",), b"{}", "Content-Length"),
        (("Content-Length : 2",), b"{}", "header"),
        (("Content-Length: 2", "Transfer-Encoding: chunked"), CHUNKS, "Transfer-Encoding"),
        (("Transfer-Encoding: chunked", "Content-Length: 2"), CHUNKS, "Transfer-Encoding"),
        (("Transfer-Encoding: gzip",), b"{}", "Transfer-Encoding"),
        (("Transfer-Encoding: gzip, chunked",), CHUNKS, "Content-Encoding"),
        (("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"), CHUNKS, "Content-Encoding"),
        (("Transfer-Encoding: chunked, chunked",), CHUNKS, "Transfer-Encoding"),
        (("Transfer-Encoding: identity",), CHUNKS, "Transfer-Encoding"),
        (("Transfer-Encoding: \x0bchunked",), CHUNKS, "valid"),
        (("Transfer-Encoding: chunked",), b"2\n{}\n0\n\n", "chunk"),
        (("Transfer-Encoding: chunked",), b"-2\r\n{}\r\n0\r\n\r\n", "chunk"),
        (("Transfer-Encoding: chunked",), b"fffffffffffffffff\r\n{}\r\n", "chunk"),
        (("X-Folded: a", " b", "Content-Length: 2"), b"{}", "header"),
        (("X: a\x00b", "Content-Length: 2"), b"{}", "header"),
        (("X: a\rb", "Content-Length: 2"), b"{}", "header"),
    ],
)
def test_where_a_body_ends_is_never_guessed(
    server: Live, lines: tuple[str, ...], body: bytes, words: str
) -> None:
    """What two servers could read differently is refused, in words, and the connection closed."""
    reply = exchange(server, with_headers(*lines, body=body))
    assert reply.status == 400
    assert reply.headers["connection"] == "close"
    assert words.lower() in reply.error().lower()


def test_lines_without_a_carriage_return_are_refused(server: Live) -> None:
    reply = exchange(server, b"GET /health HTTP/1.1\nHost: localhost\n\n")
    assert reply.status == 400
    assert "CRLF" in reply.error()


def test_extensions_and_trailers_of_chunks_change_nothing(server: Live) -> None:
    body = short_chat()
    chunks = b'%x;x="y"\r\n' % len(body) + body + b"\r\n0;z\r\nHost: evil.example\r\nX: y\r\n\r\n"
    close = ("Transfer-Encoding: chunked", "Connection: close")
    assert text_of(exchange(server, with_headers(*close, body=chunks))) == expected(server)


@pytest.mark.parametrize(
    "flood",
    [b"1;" + b"x" * 300_000 + b"\r\n{\r\n", b"2\r\n{}\r\n0\r\n" + b"X-A: b\r\n" * 40_000],
    ids=["extension", "trailer"],
)
def test_what_surrounds_chunks_is_bounded(server: Live, flood: bytes) -> None:
    """A body is counted, but not the extensions of its chunks nor the lines of its trailer."""
    reply = exchange(server, with_headers("Transfer-Encoding: chunked", body=flood))
    assert reply.status == 400
    assert "chunks" in reply.error()


def test_a_body_in_chunks_of_one_byte_is_served(server: Live) -> None:
    body = short_chat(user="u" * 40_000)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    close = ("Transfer-Encoding: chunked", "Connection: close")
    assert text_of(exchange(server, with_headers(*close, body=chunks))) == expected(server)


def test_a_connection_is_no_tunnel(server: Live) -> None:
    reply = exchange(server, b"CONNECT /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert reply.status == 400
    assert "proxy" in reply.error()


def test_a_proxy_s_form_of_an_address_is_understood(server: Live) -> None:
    request = b"GET http://localhost:1/v1/models?x=y HTTP/1.1\r\nHost: localhost\r\n"
    reply = exchange(server, request + b"Connection: close\r\n\r\n")
    assert reply.json()["data"][0]["id"] == "tiny"


def test_two_requests_one_after_the_other(server: Live) -> None:
    """Both ways of saying that a connection stays, and that it does not."""
    with server.connect() as connection:
        for line in ("Connection: keep-alive", "Connection: Keep-Alive, TE"):
            connection.sendall(with_headers(line, body=short_chat()))
            assert parse(read_one(connection)).status == 200
        body: dict[str, Any] = {"messages": HELLO, "max_tokens": 1}
        connection.sendall(with_headers("Connection: Close", body=json.dumps(body).encode()))
        assert parse(read_all(connection)).headers["connection"] == "close"
