"""A request's headers, as ASGI has them: names in lower case, in the order in which they came."""

from __future__ import annotations

from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]


def values(headers: Headers, name: bytes) -> list[bytes]:
    """The values of every header of that name."""
    return [value for header, value in headers if header == name]
