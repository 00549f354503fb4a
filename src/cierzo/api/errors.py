"""What goes wrong, as clients are told: one error object for OpenRouter's clients and OpenAI's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from cierzo.api.http.to_json import to_json
from cierzo.engine.errors import EngineError, NoAnswer, PromptTooLong, QueueFull

RETRY_SOON = 2  # seconds; for an engine that is on its way
AGENTS_CONTEXT = 32_768  # tokens; a coding agent's first turn has up to 20,000
TOO_FEW_FOR_AGENTS = (
    "Most coding agents need more: serve devstral-small, whose context is 131,072 tokens, or raise "
    "--max-model-len where the model has more."
)
_OPENROUTER = "/api/"  # paths of OpenRouter's, whose clients take `code` for the status
# OpenRouter's word for the kind of error, by status, where `code` says nothing closer.
_ERROR_TYPES = {
    401: "authentication",
    402: "payment_required",
    403: "permission_denied",
    404: "not_found",
    408: "timeout",
    413: "payload_too_large",
    422: "unprocessable",
    429: "rate_limit_exceeded",
    500: "server",
    502: "provider_unavailable",
    503: "provider_unavailable",
}


class ErrorMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """The same error in OpenRouter's names, for programs."""

    error_type: str
    provider_code: str | None = None  # OpenAI's name, under OpenRouter's paths too


class ErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong, in words and in names that programs can match."""

    message: str
    type: str
    param: str | None  # the field at fault, such as messages[0].content
    code: int | str | None  # under /api/v1 the status, as OpenRouter; else a name, as OpenAI
    metadata: ErrorMetadata


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every answer that is not 2xx."""

    error: ErrorDetail


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
        error_type = _ERROR_TYPES.get(status, "invalid_request")
        if code == "context_length_exceeded":
            error_type = code
        self.detail = ErrorDetail(message, kind, param, code, ErrorMetadata(error_type, code))
        self.retry_after = retry_after  # seconds
        self.extra_headers = headers or {}
        self.final = final  # the same request would fail again, though the status sounds else

    def shown(self, path: str) -> ErrorDetail:
        """The error object as the clients of that path read it."""
        if not path.startswith(_OPENROUTER):
            return self.detail
        return msgspec.structs.replace(self.detail, code=self.status)

    def body(self, path: str) -> bytes:
        """The JSON of the answer."""
        return to_json(ErrorBody(self.shown(path)))

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that the answer needs besides its length."""
        headers = [(b"content-type", b"application/json")]
        if self.retry_after is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after))
        if self.final:
            headers.append((b"x-should-retry", b"false"))
        if self.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        headers += [(name.encode(), value.encode()) for name, value in self.extra_headers.items()]
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


def context_length_exceeded(limit: int, prompt: int, answer: int, param: str) -> ApiError:
    """A 400 in OpenAI's words, which agents match to shorten their history. Sizes in tokens."""
    message = f"This model's maximum context length is {limit} tokens. However, "
    if answer:
        message += (
            f"you requested {prompt + answer} tokens ({prompt} in the {param}, "
            f"{answer} in the completion). "
        )
    else:
        message += f"your {param} resulted in {prompt} tokens. "
    message += f"Please reduce the length of the {param} or completion."
    if limit < AGENTS_CONTEXT:
        message += f" {TOO_FEW_FOR_AGENTS}"
    return bad_request(message, param, "context_length_exceeded")


def as_api_error(error: Exception, *, ending: bool = False) -> ApiError | None:
    """The answer to what the engine raises; None for what it does not mean to raise.

    `ending`: the engine is gone for good, or the server is about to be.
    """
    if isinstance(error, PromptTooLong):
        return context_length_exceeded(error.max_model_len, error.num_tokens, 0, "prompt")
    if isinstance(error, QueueFull):
        return ApiError(
            429,
            str(error),
            kind="rate_limit_error",
            code="queue_full",
            retry_after=error.retry_after,
        )
    if isinstance(error, NoAnswer):
        return ApiError(422, str(error), code="no_valid_answer")
    if isinstance(error, EngineError) and ending:
        return unavailable(str(error), "engine_error")
    if isinstance(error, EngineError):
        return ApiError(
            502, str(error), kind="server_error", code="engine_error", retry_after=RETRY_SOON
        )
    return None


def stream_error(error: ApiError, path: str, head: dict[str, Any], choice: dict[str, Any]) -> bytes:
    """The last event of a stream that broke: the error beside a choice that ends with it."""
    ended = {"index": 0, **choice, "finish_reason": "error", "native_finish_reason": "error"}
    event = {**head, "error": error.shown(path), "choices": [ended]}
    return b"data: " + to_json(event) + b"\n\n"
