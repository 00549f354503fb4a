"""uvicorn's HTTP protocol with the limits it lacks, and for clients that it does not know.

uvicorn with httptools takes a head of any size, waits for it without end, and forgets a
running request once another is pipelined behind it. Here a head has a size and a time, a client
that stops reading is cut off, what is pipelined is dropped with the connection, and errors are
JSON. It loses the body behind an offer to upgrade, sends chunks to clients of HTTP/1.0, and
leaves those that shut their sending side; here they are served.

(httptools rather than h11: measured at 0.7 against 4 us for each chunk of a stream, 25 against
82 us for a request's head, and a body in chunks of one byte costs 25 times less.)
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from cierzo.api.errors import ApiError
from cierzo.api.http.peer import has_gone
from cierzo.api.http.request_log import HEADER as REQUEST_ID
from cierzo.api.http.request_log import RequestLog, RequestNotes, notes_of
from cierzo.settings import Limits

LINGER_SECONDS = 2.0  # a refused client may go on sending for so long, so that it reads the answer
DROPPED_BYTES = 64 << 20  # and so much
REFUSED_AT_ONCE = 32  # clients beyond the most that hear why; others are only cut off
FRAMING = 9  # bytes that may arrive for each byte of a body: a chunk of one byte takes 6
FIRST_LOOK = 0.01  # seconds until a client that stopped sending is looked after, then twice as long
LAST_LOOK = 1.28  # up to this


class _Unserved(Exception):
    """Stops the parser at what is HTTP, but is not answered."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection. `limited(...)` makes the class that uvicorn is given."""

    limits = Limits()
    max_connections = 1024
    error_body: Callable[[ApiError], bytes]  # in the dialect of whoever is not known yet
    request_log: RequestLog

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._in_head = False
        self._began = time.monotonic()  # when the connection did, or the head that came last
        self._framing = 0  # bytes received that no body accounts for
        self._dropping = False
        self._dropped = 0
        self._watch: asyncio.TimerHandle | None = None  # over a client that has stopped sending
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Every write goes out at once: else a body waits 40 ms for the head to be acknowledged.
        # asyncio does it only for sockets that were made with the protocol's number.
        self._socket = transport.get_extra_info("socket")
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's part of "a client that stops reading": what it holds for one, or for one
        # that has vanished, it drops after the same time. Other systems have a time of their own.
        if sys.platform == "linux":
            patience = int(self.limits.request_seconds * 1000)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
        if len(self.connections) > self.max_connections + REFUSED_AT_ONCE:
            self._dropping = True
            self.transport.abort()
        elif len(self.connections) > self.max_connections:
            self._refuse(ApiError(503, "too many connections; try again soon", retry_after=1))
        else:
            self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        if self._watch is not None:
            self._watch.cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._dropping:
            self._dropped += len(data)
            if self._dropped > DROPPED_BYTES:
                self.transport.abort()
            return
        self._unset_keepalive_if_required()
        self._parse(data)
        self._framing += len(data)
        if self._framing > self.limits.header_bytes and not self._dropping:
            if self._in_head:
                self._refuse(head_too_large(self.limits))
            elif self.cycle is not None and self.cycle.more_body:
                self.send_400_response("its chunks hold next to nothing")
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._start_head_timer()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # A server may go on as if nothing else had been offered; but the parser has taken the
            # body for the other protocol. So a new one is told the request without the offer.
            request = self._head_without_upgrade() + data[upgrade.args[0] :]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self._parse(request)
        except httptools.HttpParserCallbackError as error:
            self.send_400_response(str(error.__context__))
        except httptools.HttpParserError as error:
            self.send_400_response(str(error))

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        offers = (b"upgrade", b"http2-settings")
        lines += [b"%s: %s" % header for header in self.headers if header[0] not in offers]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks for it
        """A client that has sent its whole request and closes that side still gets its answer."""
        cycle = self.cycle
        if cycle is None or cycle.more_body or cycle.response_complete:
            return False  # the connection is closed
        cycle.keep_alive = False
        self._watch_half_closed(FIRST_LOOK)
        return True

    def _watch_half_closed(self, pause: float) -> None:
        """Ends the connection once the client turns out to have gone altogether."""
        if self.transport.is_closing():
            return
        gone = has_gone(self._socket)
        if gone:
            self.transport.abort()
            return
        if gone is None and pause >= LAST_LOOK and self._may_have_interim():
            # Any client of HTTP/1.1 skips it, and the machine of one that has gone resets.
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        again = min(pause * 2, LAST_LOOK)
        self._watch = self.loop.call_later(pause, self._watch_half_closed, again)

    def _may_have_interim(self) -> bool:
        return not self.cycle.response_started and self.cycle.scope["http_version"] == "1.1"

    def on_message_begin(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            raise _Unserved("one request after the other")  # goes nowhere: see below
        self._in_head = True
        self._began = time.monotonic()
        self._framing = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # not in the trailer of a body, which could add to a checked head
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            raise _Unserved("this is no proxy")
        if self.parser.should_upgrade():
            return  # it comes again: see `_parse`
        self._in_head = False
        self._framing = -self.limits.header_bytes
        self._stop_head_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._framing -= FRAMING * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["http_version"] == "1.0":
            cycle.waiting_for_100_continue = False
            app = _without_chunks(cycle, app)
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Called for whatever the parser stumbles over."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:  # a whole request is running: it keeps its answer
                cycle.keep_alive = False
                self._dropping = True
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.abort()
                return
        self._refuse(ApiError(400, f"this is not a valid HTTP/1.1 request: {msg[:200]}"))

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            seconds = self.limits.request_seconds
            self._write_timer = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def _start_head_timer(self) -> None:
        if not self.transport.is_closing():
            self._head_timer = self.loop.call_later(self.limits.request_seconds, self._head_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if self._in_head:
            seconds = self.limits.request_seconds
            self._refuse(ApiError(408, f"the request's head took longer than {seconds:g} s"))
        else:
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        """Answers on the bare connection and closes it."""
        self._dropping = True
        self._stop_head_timer()
        if self.transport.is_closing():
            return
        body = self.error_body(error)
        headers = [*error.headers(), (b"content-length", b"%d" % len(body))]
        headers += [(b"connection", b"close"), (REQUEST_ID, self._note(error.status).encode())]
        status = f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\n"
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(status.encode() + lines + b"\r\n" + body)
        with contextlib.suppress(OSError):  # the client may have gone by now
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _note(self, status: int) -> str:
        """Counts and logs an answer that is not the app's. Returns the request's id."""
        if self.cycle is not None and not self.cycle.response_complete:
            # The app, which finds its client gone, writes their line.
            notes = notes_of(cast(Scope, self.cycle.scope))
            self.request_log.answered(notes, status)
        else:
            notes = RequestNotes(started=self._began)
            self.request_log.answered(notes, status)
            self.request_log.ended(notes)
        return notes.request_id


def _without_chunks(cycle: RequestResponseCycle, app: ASGIApp) -> Any:
    """The app for a client of HTTP/1.0, to which a stream ends with the connection."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        streamed = False

        async def unchunked(message: Message) -> None:
            nonlocal streamed
            if message["type"] == "http.response.start":
                streamed = all(name != b"content-length" for name, _ in message["headers"])
                if streamed:
                    cycle.chunked_encoding = False
            elif streamed:  # uvicorn's promise of a length is made anew for each part
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, unchunked)

    return served


def head_too_large(limits: Limits) -> ApiError:
    """The answer to a head over the limit."""
    return ApiError(431, f"the request's head is larger than {limits.header_bytes:,} bytes")


def limited(
    limits: Limits,
    max_connections: int,
    error_body: Callable[[ApiError], bytes],
    request_log: RequestLog,
) -> type[LimitedProtocol]:
    """The protocol class for these limits. `error_body` is for errors before a path is known."""
    own = {
        "limits": limits,
        "max_connections": max_connections,
        "error_body": staticmethod(error_body),
        "request_log": request_log,
    }
    return type("Protocol", (LimitedProtocol,), own)
