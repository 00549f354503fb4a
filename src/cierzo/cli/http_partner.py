"""The server that `cierzo chat --url` talks to, over the API that every client uses."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from cierzo.chat.messages import Message
from cierzo.engine.errors import EngineError

_ANSWER_BYTES = 1 << 20  # of an answer that is no stream
_LINE_BYTES = 1 << 20


class HttpPartner:
    """Streams `/v1/chat/completions`. Every failure is an EngineError of one line."""

    def __init__(
        self, url: str, model: str | None, key: str | None, wishes: Mapping[str, float]
    ) -> None:
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
        self._wishes = wishes
        self._socket: socket.socket | None = None
        self._stopped = False
        self.name = model or self._first_model()

    def answer(self, messages: list[Message]) -> Iterator[str]:
        self._stopped = False
        body = {
            "model": self.name,
            "stream": True,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            **self._wishes,
        }
        connection = self._connection()
        try:
            connection.connect()
            self._socket = connection.sock
            response = self._send(connection, "POST", "/v1/chat/completions", body)
            yield from self._texts(response)
        except (OSError, http.client.HTTPException) as error:
            if not self._stopped:
                raise self._broken(error) from error
        finally:
            self._socket = None
            connection.close()

    def interrupt(self) -> None:
        """The server ends a request whose client is gone."""
        self._stopped = True
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Each answer closes its own connection."""

    def _texts(self, response: http.client.HTTPResponse) -> Iterator[str]:
        """The text in a stream of server-sent events."""
        while line := response.readline(_LINE_BYTES):
            if not line.startswith(b"data:"):
                continue
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            event = self._decode(data)
            if "error" in event:
                raise EngineError(_message(event) or "the server failed")
            if text := _delta(event):
                yield text
        if not self._stopped:
            raise EngineError(f"{self._url}: the connection ended before the answer did")

    def _first_model(self) -> str:
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

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._address
        if self._https:
            return http.client.HTTPSConnection(host, port)
        return http.client.HTTPConnection(host, port)

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: object
    ) -> http.client.HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers | ({} if data is None else {"Content-Type": "application/json"})
        connection.request(method, self._base + path, data, headers)
        response = connection.getresponse()
        if response.status != http.client.OK:
            told = _message(self._decode(response.read(_ANSWER_BYTES)))
            raise EngineError(f"{self._url}: {told or f'answered {response.status}'}")
        return response

    def _decode(self, data: bytes) -> dict[str, Any]:
        try:
            value = json.loads(data)
        except ValueError as error:
            raise EngineError(f"{self._url}: what answers there is not this API") from error
        return value if isinstance(value, dict) else {}

    def _broken(self, error: Exception) -> EngineError:
        if isinstance(error, ConnectionRefusedError):
            return EngineError(f"{self._url}: nothing listens there; start `cierzo serve`")
        return EngineError(f"{self._url}: {error or type(error).__name__}")


def _delta(event: Mapping[str, Any]) -> str:
    """The text that an event of a stream adds."""
    choices = event.get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""


def _message(answer: Mapping[str, Any]) -> str | None:
    """What an OpenAI error object says."""
    error = answer.get("error")
    if isinstance(error, dict):
        return str(error.get("message"))[:500]
    return None
