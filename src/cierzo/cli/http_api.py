"""A server with OpenAI's chat API, over HTTP, as a client sees it."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from cierzo.engine.errors import EngineError

_ANSWER_BYTES = 1 << 20  # of an answer that is no stream
_LINE_BYTES = 1 << 20


class HttpApi:
    """Streams `/v1/chat/completions`. Every failure is an EngineError of one line.

    It holds no connection: each request has its own, so threads may share it.
    """

    def __init__(self, url: str, key: str | None = None, seconds: float | None = None) -> None:
        """`seconds`: how long an answer may take as a whole; None: for ever."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError as error:
            raise EngineError(f"{url}: not a URL: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise EngineError(f"{url}: expected a URL such as http://localhost:8000")
        self._url = url
        self._https = parts.scheme == "https"
        self._address = (parts.hostname, port)
        self._base = parts.path.rstrip("/").removesuffix("/v1")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._seconds = seconds

    def first_model(self) -> str:
        """The first model that it lists."""
        connection = self._connection()
        try:
            response = self._send(connection, "GET", "/v1/models", None)
            return str(self._decode(response.read(_ANSWER_BYTES))["data"][0]["id"])
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error
        except (KeyError, IndexError, TypeError) as error:
            raise EngineError(f"{self._url}: no model is listed there; name one") from error
        finally:
            connection.close()

    def chat(
        self,
        body: Mapping[str, object],
        connected: Callable[[socket.socket], None] = lambda connection: None,
    ) -> Iterator[dict[str, Any]]:
        """The events of a streamed answer. `connected` is given the socket before the request."""
        connection = self._connection()
        try:
            connection.connect()
            connected(connection.sock)
            end = None if self._seconds is None else time.monotonic() + self._seconds
            # The connection forgets its socket where the server closes after the answer.
            stream = connection.sock
            response = self._send(connection, "POST", "/v1/chat/completions", body)
            yield from self._events(response, stream, end)
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error
        finally:
            connection.close()

    def _events(
        self, response: http.client.HTTPResponse, stream: socket.socket, end: float | None
    ) -> Iterator[dict[str, Any]]:
        while True:
            if end is not None:
                stream.settimeout(max(1e-3, end - time.monotonic()))
            line = response.readline(_LINE_BYTES)
            if not line:
                raise EngineError(f"{self._url}: the connection ended before the answer did")
            if not line.startswith(b"data:"):
                continue
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            event = self._decode(data)
            if "error" in event:
                raise EngineError(f"{self._url}: {_message(event) or 'the server failed'}")
            yield event

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._address
        if self._https:
            return http.client.HTTPSConnection(host, port, timeout=self._seconds)
        return http.client.HTTPConnection(host, port, timeout=self._seconds)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: object
    ) -> http.client.HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({} if data is None else {"Content-Type": "application/json"})
        connection.request(method, self._base + path, data, headers)
        response = connection.getresponse()
        if response.status != http.client.OK:
            told = _message(_object(response.read(_ANSWER_BYTES)) or {})
            raise EngineError(f"{self._url}: {told or f'answered {response.status}'}")
        return response

    def _decode(self, data: bytes) -> dict[str, Any]:
        value = _object(data)
        if value is None:
            raise EngineError(f"{self._url}: what answers there is not this API")
        return value

    def _broken(self, error: Exception) -> EngineError:
        if isinstance(error, ConnectionRefusedError):
            return EngineError(f"{self._url}: nothing listens there; start `cierzo serve`")
        if isinstance(error, TimeoutError) and self._seconds is not None:
            return EngineError(f"{self._url}: no whole answer within {self._seconds:g} s")
        return EngineError(f"{self._url}: {error or type(error).__name__}")


def _object(data: bytes) -> dict[str, Any] | None:
    """A JSON object; empty for another value; None for what is no JSON."""
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else {}


def _message(answer: Mapping[str, Any]) -> str | None:
    """What an error says: OpenAI's object, or the text that some servers have in its place."""
    error = answer.get("error")
    told = error.get("message") if isinstance(error, dict) else error
    return " ".join(str(told).split())[:500] if told else None
