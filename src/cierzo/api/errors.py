"""What goes wrong, as HTTP knows it: a status and one line. Dialects spell it for their clients."""

from __future__ import annotations

from collections.abc import Mapping

RETRY_SOON = 2  # seconds; for an engine that is on its way
AGENTS_CONTEXT = 32_768  # tokens; a coding agent's first turn has up to 20,000
TOO_FEW_FOR_AGENTS = (
    "Most coding agents need more: serve devstral-small, whose context is 131,072 tokens, or raise "
    "--max-model-len where the model has more."
)


class ApiError(Exception):
    """Ends a request with a status and one line for who sent it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
        final: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind  # what sort of thing went wrong, in OpenAI's words
        self.param = param  # the field at fault, such as messages[0].content
        self.code = code  # what went wrong, for programs
        self.retry_after = retry_after  # seconds
        self.final = final  # the same request would fail again, whatever its status suggests
        self._headers = headers or {}

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that the answer needs besides its length."""
        headers = [(b"content-type", b"application/json")]
        if self.retry_after is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after))
        if self.final:
            headers.append((b"x-should-retry", b"false"))
        if self.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        headers += [(name.encode(), value.encode()) for name, value in self._headers.items()]
        return headers


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A 400 that names the field at fault."""
    return ApiError(400, message, param=param, code=code)


def unsupported(param: str, why: str) -> ApiError:
    """A 400 for a value that is known, but that this server cannot honour."""
    return bad_request(f"{param}: {why}", param, "unsupported_parameter")


def unavailable(message: str, code: str, retry_after: int | None = RETRY_SOON) -> ApiError:
    """A 503 for a server that is loading, ending, or without its engine (then no time is given)."""
    return ApiError(
        503,
        message,
        kind="server_error",
        code=code,
        retry_after=retry_after,
        final=retry_after is None,
    )
