"""The key that a request brings, and whether it is one of the server's."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from cierzo.api.errors import ApiError
from cierzo.api.http.headers import Headers, values


class Keys:
    """The keys that clients must send one of; without any, nobody is asked for one."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def check(self, headers: Headers) -> str:
        """Whose request it is: a name for its key, or none where no key is asked for.

        Raises ApiError 401 for a request without one of the keys.
        """
        if not self._keys:
            return ""
        given = key_in(headers)
        if not given:
            message = "you did not provide an API key; send it as `Authorization: Bearer KEY`"
        elif self._has(given):
            return tenant_of(given)
        else:
            message = "incorrect API key provided"
        raise ApiError(401, message, kind="authentication_error", code="invalid_api_key")

    def _has(self, given: bytes) -> bool:
        """Whether it is one of them. Each is compared whole, so that the time tells nothing."""
        return any([hmac.compare_digest(given, key) for key in self._keys])


def tenant_of(key: bytes) -> str:
    """A name for whoever has a key, which does not tell the key."""
    return hashlib.blake2b(key, digest_size=16, person=b"cierzo tenant").hexdigest()


def key_in(headers: Headers) -> bytes:
    """The key that a request brings; empty if none."""
    authorization = values(headers, b"authorization")
    scheme, _, given = authorization[0].partition(b" ") if authorization else (b"", b"", b"")
    if scheme.lower() != b"bearer":
        given = b"".join(values(headers, b"x-api-key")[:1])
    return given.strip()
