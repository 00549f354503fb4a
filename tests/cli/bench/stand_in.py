"""A server that keeps what it is sent and answers as it is told: some other maker's, for tests."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class StandIn:
    """Two tokens an answer, then `last` as the final event."""

    last: dict[str, Any] = field(default_factory=dict)
    status: int = 200  # of chats
    error: Any = None  # what it says with any other
    most: int | None = None  # chats that it answers before it is overloaded (503)
    breaks: bool = False  # the connection ends before the answer does
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @property
    def asked(self) -> list[dict[str, Any]]:
        """What was sent after the request that warms up."""
        return self.bodies[1:]

    def events(self) -> Iterator[dict[str, Any]]:
        yield {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
        for text in ("one", " two"):
            yield {"choices": [{"delta": {"content": text}}]}
        if self.last:
            yield {"choices": [], **self.last}


@contextmanager
def stand_in(**options: Any) -> Iterator[StandIn]:
    told = StandIn(**options)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(200, json.dumps({"data": [{"id": "theirs"}]}))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.bodies.append(json.loads(body))
            full = told.most is not None and len(told.bodies) > told.most
            status = 503 if full else told.status
            if status != 200:
                self._say(status, json.dumps({"error": told.error}))
                return
            lines = [f"data: {json.dumps(event)}\n\n" for event in told.events()]
            self._say(200, "".join(lines) + ("" if told.breaks else "data: [DONE]\n\n"))

        def _say(self, status: int, text: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *about: object) -> None:
            """Nothing: the tests' output is theirs."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
