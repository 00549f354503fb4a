"""The outermost layer of the app: what every request must pass before a route sees it.

What its path means, head size, Host, key, media type, and its body, which is read whole here (see
`body.py`), so that a route gets it at once. A refused body is read on for a moment without being
kept, so that its sender sees the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cierzo.api.access.keys import Keys, key_in
from cierzo.api.access.tenant import owned
from cierzo.api.dialect import Dialect, spoken
from cierzo.api.errors import ApiError, bad_request, unavailable
from cierzo.api.http.body import Body, Memory
from cierzo.api.http.headers import Headers, values
from cierzo.api.http.http_protocol import LINGER_SECONDS, head_too_large
from cierzo.api.http.paths import Paths
from cierzo.api.http.request_log import HEADER as REQUEST_ID
from cierzo.api.http.request_log import RequestLog, notes_of
from cierzo.settings import Limits, ServerSettings

_OPEN = ("/", "/health", "/metrics", "/openapi.json")  # paths that need no key
# What a page of any site may post without asking first, and mostly also with a media type missing.
_UNASKED = ("text/plain", "application/x-www-form-urlencoded")
_BROWSERS = (b"origin", b"sec-fetch-site")  # headers that only browsers send


class Edge:
    """The ASGI layer around the app."""

    def __init__(
        self,
        app: ASGIApp,
        paths: Paths,
        limits: Limits,
        server: ServerSettings,
        request_log: RequestLog,
    ) -> None:
        self._app = app
        self._paths = paths
        self._limits = limits
        self._hosts = {host.lower() for host in (*server.allowed_hosts, server.host)}
        self._hosts -= {"0.0.0.0", "::"}  # all addresses; no client calls a server so
        self._keys = Keys(server.api_keys)
        self._log = request_log
        self._memory = Memory(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} is served here")
        path, declared, dialect = self._paths.meant(scope["path"])
        notes = notes_of(scope)
        notes.path = declared
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self._log.answered(notes, message["status"])
                named = (REQUEST_ID, notes.request_id.encode())
                message = {**message, "headers": [*message["headers"], named]}
            await send(message)

        # uvicorn leaves the body away; all else of the answer is the same.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        body = Body(self._limits, self._memory)
        try:
            tenant = self._check_head(scope, path)
            content: bytes | None = b""
            if method == "POST":
                _check_media_type(scope["headers"])
                content = await body.read(scope["headers"], receive)
            if content is not None:
                inner = spoken({**scope, "path": path, "method": method}, dialect)
                inner = owned(inner, tenant)
                await self._app(inner, _replay(content, receive), watched)
        except ApiError as error:
            await _refuse(error, dialect, watched, None if body.arrived else receive)
        except asyncio.CancelledError:
            # The server ends, and the request is still being read or prepared.
            if not begun:
                stopping = unavailable("the server is stopping", "shutting_down")
                await _refuse(stopping, dialect, watched, None)
        finally:
            body.release()
            self._log.ended(notes)

    def _check_head(self, scope: Scope, path: str) -> str:
        """Whose request it is. Raises ApiError."""
        headers = scope["headers"]
        size = len(scope["raw_path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) + 4 for name, value in headers)
        if size > self._limits.header_bytes:
            raise head_too_large(self._limits)
        first_version = scope["http_version"] == "1.0"
        if first_version and values(headers, b"transfer-encoding"):
            raise bad_request("HTTP/1.0 has no Transfer-Encoding; send a Content-Length")
        hosts = values(headers, b"host")
        if hosts or not first_version:  # 1.0 needs none; browsers, which may be misled, speak 1.1
            self._check_host(hosts)
        return "" if path in _OPEN else self._keys.check(headers)

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


def _check_media_type(headers: Headers) -> None:
    """Keeps out what pages of other sites can post unasked, to a server that they cannot read.

    A request with a key, which such pages cannot add, is not one of theirs.
    """
    declared = [value.decode("latin-1") for value in values(headers, b"content-type")]
    media = [value.partition(";")[0].strip().lower() for value in declared]
    media = [name for name in media if name]
    asked = bool(key_in(headers))
    if not media and (asked or not any(values(headers, name) for name in _BROWSERS)):
        return
    for name in media or [_UNASKED[0]]:
        if "json" in name or name == "application/octet-stream":
            continue
        if not (asked and name in _UNASKED):
            raise ApiError(415, "the body must be sent as Content-Type: application/json")


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the whole body, then what the connection has to say."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


async def _refuse(error: ApiError, dialect: Dialect, send: Send, receive: Receive | None) -> None:
    """Answers, and lets what is still to `receive` of the body run into nothing for a moment."""
    body = dialect.error_body(error)
    headers = [*error.headers(), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while receive and (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
