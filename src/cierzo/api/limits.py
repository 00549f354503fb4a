"""The outermost layer of the app: what every request must pass before a route sees it.

Head size, Host, key, media type, body size and the time to send it. A body is read whole here,
so a route gets it at once, and a refused one is read on for a moment without being kept, so that
its sender sees the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cierzo.api.errors import ApiError
from cierzo.api.keys import is_known
from cierzo.api.protocol import LINGER_SECONDS, head_too_large
from cierzo.settings import Limits, ServerSettings

HELD_BODIES = 8  # whole bodies of the largest size that may be in memory at once
_GUARDED = ("/v1/", "/api/")  # paths that need a key, if keys are set


class Edge:
    """The ASGI layer around the app. `count` is told the status of every answer."""

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        server: ServerSettings,
        count: Callable[[int], None],
    ) -> None:
        self._app = app
        self._limits = limits
        self._hosts = {host.lower() for host in (*server.allowed_hosts, server.host)}
        self._hosts -= {"0.0.0.0", "::"}  # all addresses, the name of none
        self._keys = [key.encode() for key in server.api_keys]
        self._count = count
        self._held = 0  # bytes of bodies in memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} is served here")

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._count(message["status"])
            await send(message)

        body = bytearray()
        try:
            self._check_head(scope)
            if scope["method"] == "POST":
                self._check_media_type(scope)
                if not await self._read_body(scope, receive, body):
                    return
            await self._app(scope, _replay(bytes(body), receive), counted)
        except ApiError as error:
            await _refuse(error, scope["path"], receive, counted)
        finally:
            self._held -= len(body)

    def _check_head(self, scope: Scope) -> None:
        headers = scope["headers"]
        size = len(scope["raw_path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) + 4 for name, value in headers)
        if size > self._limits.header_bytes:
            raise head_too_large(self._limits)
        self._check_host(_values(headers, b"host"))
        if self._keys and scope["path"].startswith(_GUARDED):
            self._check_key(headers)

    def _check_host(self, hosts: Sequence[bytes]) -> None:
        if len(hosts) != 1:
            raise ApiError(400, "a request needs one Host header")
        host = hosts[0].decode("latin-1").lower()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if name not in self._hosts and "*" not in self._hosts:
            raise ApiError(
                403,
                f"Host {name[:100]!r} is not served here; if it is this server's name, add it to "
                "server.allowed_hosts",
                code="host_not_allowed",
            )

    def _check_key(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        values = _values(headers, b"authorization")
        scheme, _, given = values[0].partition(b" ") if values else (b"", b"", b"")
        if scheme.lower() != b"bearer":
            given = b"".join(_values(headers, b"x-api-key")[:1])
        given = given.strip()
        if not given:
            message = "you did not provide an API key; send it as `Authorization: Bearer KEY`"
        elif is_known(given, self._keys):
            return
        else:
            message = "incorrect API key provided"
        raise ApiError(401, message, kind="authentication_error", code="invalid_api_key")

    def _check_media_type(self, scope: Scope) -> None:
        # Only JSON: it keeps other sites' pages out, which can post forms and plain text unasked.
        for value in _values(scope["headers"], b"content-type"):
            media = value.partition(b";")[0].strip().lower()
            if media != b"application/json" and not media.endswith(b"+json"):
                raise ApiError(415, "the body must be sent as Content-Type: application/json")

    async def _read_body(self, scope: Scope, receive: Receive, body: bytearray) -> bool:
        """Fills `body`. False if the client has gone."""
        limit = self._limits.body_bytes
        too_large = ApiError(413, f"the body is larger than {limit:,} bytes")
        for value in _values(scope["headers"], b"content-length"):
            if int(value) > limit:
                raise too_large
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return False
                    chunk = message.get("body", b"")
                    if len(body) + len(chunk) > limit:
                        raise too_large
                    if self._held + len(chunk) > HELD_BODIES * limit:
                        raise ApiError(
                            503, "too many large requests at once; try again soon", retry_after=1
                        )
                    body += chunk
                    self._held += len(chunk)
                    more = message.get("more_body", False)
        except TimeoutError:
            seconds = self._limits.request_seconds
            raise ApiError(408, f"the body took longer than {seconds:g} s to arrive") from None
        return True


def _values(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the whole body, then what the connection has to say."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


async def _refuse(error: ApiError, path: str, receive: Receive, send: Send) -> None:
    """Answers before the body is read, and lets the rest of it run into nothing for a moment."""
    body = error.body(path)
    headers = [*error.headers(), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
