"""Answers that are written while their client is watched: whole ones, and server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cierzo.api.dialect import dialect_of
from cierzo.api.errors import ApiError
from cierzo.api.http.to_json import to_json

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"
COMMENT = b": OPENROUTER PROCESSING\n\n"  # the words that clients of OpenRouter know to skip
FIRST_COMMENT = 1.0  # seconds of silence before the headers go out with a comment
NEXT_COMMENT = 8.0  # and between comments; some clients give up after 20


def event(value: object) -> bytes:
    """One server-sent event with JSON."""
    return b"data: " + to_json(value) + b"\n\n"


def json_response(value: object, headers: dict[str, str] | None = None) -> Response:
    """A 200 with JSON."""
    return Response(to_json(value), media_type="application/json", headers=headers)


def error_response(error: ApiError, scope: Scope) -> Response:
    """The answer that an error is, in the dialect of the request."""
    response = Response(dialect_of(scope).error_body(error), error.status)
    for name, value in error.headers():
        response.headers[name.decode()] = value.decode()
    return response


class WatchedResponse(Response):
    """A JSON answer that takes a while. A client that leaves cancels it; nothing is sent then."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, Response]]) -> None:
        super().__init__()
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await while_connected(receive, self._work())
        if response is not None:
            await response(scope, receive, send)


class EventStream(Response):
    """A stream of events. An error before the first one is an answer with its own status.

    While the first event is awaited for longer than a second, the headers and a comment go out,
    and then a comment whenever nothing was sent for a while. `broken` makes the last event of
    a stream that an error ends.
    """

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        broken: Callable[[ApiError], bytes],
        headers: dict[str, str],
    ) -> None:
        super().__init__(headers=headers)
        self._events = events
        self._broken = broken
        self._head = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *((name.lower().encode(), value.encode()) for name, value in headers.items()),
        ]
        self._started = False
        self._last = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self._events):
            await while_connected(receive, self._send_all(scope, receive, send))

    async def _send_all(self, scope: Scope, receive: Receive, send: Send) -> None:
        comments = asyncio.create_task(self._comment(send))
        try:
            async for data in self._events:
                await self._write(send, data)
            last = b""
        except ApiError as error:
            if not self._started:
                await _cancelled(comments)
                await error_response(error, scope)(scope, receive, send)
                return
            last = self._broken(error)
        finally:
            await _cancelled(comments)
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _write(self, send: Send, data: bytes) -> None:
        self._last = time.monotonic()
        if not self._started:
            self._started = True
            await send({"type": "http.response.start", "status": 200, "headers": self._head})
        await send({"type": "http.response.body", "body": data, "more_body": True})

    async def _comment(self, send: Send) -> None:
        while True:
            pause = NEXT_COMMENT if self._started else FIRST_COMMENT
            silence = time.monotonic() - self._last
            if silence >= pause:
                await self._write(send, COMMENT)
            else:
                await asyncio.sleep(pause - silence)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`, which is cancelled once the client has gone; None then."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_wait_gone(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        await _cancelled(gone)
        await _cancelled(task)


async def _wait_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """Cancels a task and returns when it has ended."""
    task.cancel()
    await asyncio.wait((task,))
