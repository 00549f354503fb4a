"""Requests and answers as bytes, for what no client library would send or show."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

from tests.api.live import HELLO, Live, chat_request


@dataclass
class Reply:
    """An answer as it came, and its body without chunks."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def error(self) -> str:
        message: str = self.json()["error"]["message"]
        return message


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    data = b""
    try:
        while chunk := connection.recv(65_536):
            data += chunk
    except ConnectionResetError:
        pass
    return data


def read_one(connection: socket.socket) -> bytes:
    """An answer with a length, on a connection that stays; it may come in pieces."""
    data = b""
    while not (head := data.partition(b"\r\n\r\n"))[1]:
        data += _more(connection, data)
    lines = [line for line in head[0].lower().split(b"\r\n") if line.startswith(b"content-length:")]
    size = int(lines[0].partition(b":")[2]) if lines else 0
    while len(data) < len(head[0]) + 4 + size:
        data += _more(connection, data)
    return data


def _more(connection: socket.socket, data: bytes) -> bytes:
    chunk = connection.recv(65_536)
    assert chunk, f"the connection ended after {data!r}"
    return chunk


def parse(data: bytes) -> Reply:
    """The answer in `data`, which holds that one and nothing else."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = _without_chunks(body)
    return Reply(int(first.split()[1]), headers, body, data)


def exchange(server: Live, request: bytes) -> Reply:
    """Sends one request and reads until the server closes; `request` must make it do so."""
    with server.connect() as connection:
        connection.sendall(request)
        return parse(read_all(connection))


def short_chat(**fields: Any) -> bytes:
    """The body of a chat request with a short answer."""
    return json.dumps({"messages": HELLO, "max_tokens": 5, "seed": 1, **fields}).encode()


def with_headers(*lines: str, body: bytes, path: str = "/v1/chat/completions") -> bytes:
    """A POST of JSON over a connection that is closed behind it, with these lines in its head."""
    head = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    if not any(line.lower().startswith(("connection:", "transfer-encoding:")) for line in lines):
        head.append("Connection: close")
    if not any(line.lower().startswith(("content-length:", "transfer-")) for line in lines):
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, *lines]).encode() + b"\r\n\r\n" + body


def half_closed(server: Live, **fields: Any) -> socket.socket:
    """A connection whose chat request is sent and whose sending side is shut."""
    connection = server.connect()
    connection.sendall(chat_request({"messages": HELLO, **fields}))
    connection.shutdown(socket.SHUT_WR)
    return connection


def _without_chunks(data: bytes) -> bytes:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if not int(size, 16):
            assert data == b"\r\n", "something follows the last chunk"
            return body
        body += data[: int(size, 16)]
        assert data[int(size, 16) :][:2] == b"\r\n"
        data = data[int(size, 16) + 2 :]
