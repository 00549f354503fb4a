"""A request's body, read whole: its size, the time to send it, what compresses it, its memory."""

from __future__ import annotations

import asyncio

from starlette.types import Receive

from cierzo.api.errors import ApiError, bad_request
from cierzo.api.http.encodings import Decoding, Meter, codings_of
from cierzo.api.http.headers import Headers, values
from cierzo.settings import Limits

HELD_BODIES = 32  # whole bodies of the largest size that may be in memory at once


class Memory:
    """The bytes that the bodies of all requests may take together."""

    def __init__(self, limits: Limits) -> None:
        self._free = HELD_BODIES * limits.body_bytes

    def take(self, size: int) -> None:
        """Raises ApiError 503 if there is not enough left."""
        if size > self._free:
            raise ApiError(503, "too many large requests at once; try again soon", retry_after=1)
        self._free -= size

    def give_back(self, size: int) -> None:
        self._free += size


class Body:
    """The body of one request. `release` it once the request is over."""

    def __init__(self, limits: Limits, memory: Memory) -> None:
        self._limits = limits
        self._memory = memory
        self._taken = 0
        self.arrived = False  # nothing more of it will come

    async def read(self, headers: Headers, receive: Receive) -> bytes | None:
        """The body without its codings; None if the client has gone. Raises ApiError."""
        for value in values(headers, b"transfer-encoding"):
            if value.strip().lower() != b"chunked":
                raise bad_request(
                    "Transfer-Encoding must be chunked; compress with Content-Encoding"
                )
        decoding = Decoding(codings_of(values(headers, b"content-encoding")), self._meter)
        for value in values(headers, b"content-length"):
            if int(value) > self._limits.body_bytes:
                raise self._too_large()
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                return await self._read(decoding, receive)
        except TimeoutError:
            seconds = self._limits.request_seconds
            raise ApiError(408, f"the body took longer than {seconds:g} s to arrive") from None

    def release(self) -> None:
        """Gives the memory back."""
        self._memory.give_back(self._taken)
        self._taken = 0

    async def _read(self, decoding: Decoding, receive: Receive) -> bytes | None:
        body = bytearray()
        arriving = self._meter()
        while not self.arrived:
            message = await receive()
            self.arrived = not message.get("more_body", False)
            if message["type"] == "http.disconnect":
                return None
            chunk = message.get("body", b"")
            arriving(len(chunk))
            for piece in decoding.feed(chunk):
                body += piece
                if piece is not chunk:
                    await asyncio.sleep(0)  # inflating must not keep others waiting
        decoding.finish()
        return bytes(body)

    def _meter(self) -> Meter:
        """Counts the bytes that arrive, or that one coding gives: none may go beyond the limit."""
        total = 0

        def count(size: int) -> None:
            nonlocal total
            total += size
            if total > self._limits.body_bytes:
                raise self._too_large()
            self._memory.take(size)
            self._taken += size

        return count

    def _too_large(self) -> ApiError:
        most = self._limits.body_bytes
        how = "whoever runs this server can allow more with limits.body_bytes"
        return ApiError(413, f"the body is larger than {most:,} bytes; {how}")
