"""The server that `cierzo chat --url` talks to, over the API that every client uses."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any

from cierzo.chat.messages import Message
from cierzo.cli.http_api import HttpApi
from cierzo.engine.errors import EngineError


class HttpPartner:
    """Answers with a server's words. Every failure is an EngineError of one line."""

    def __init__(
        self, url: str, model: str | None, key: str | None, wishes: Mapping[str, float]
    ) -> None:
        self._api = HttpApi(url, key)
        self._wishes = wishes
        self._socket: socket.socket | None = None
        self._stopped = False
        self.name = model or self._api.first_model()

    def answer(self, messages: list[Message]) -> Iterator[str]:
        self._stopped = False
        body = {
            "model": self.name,
            "stream": True,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            **self._wishes,
        }
        try:
            for event in self._api.chat(body, self._hold):
                if text := _delta(event):
                    yield text
        except EngineError:
            if not self._stopped:
                raise
        finally:
            self._socket = None

    def interrupt(self) -> None:
        """The server ends a request whose client is gone."""
        self._stopped = True
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Each answer closes its own connection."""

    def _hold(self, connection: socket.socket) -> None:
        self._socket = connection


def _delta(event: Mapping[str, Any]) -> str:
    """The text that an event of a stream adds."""
    choices = event.get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""
