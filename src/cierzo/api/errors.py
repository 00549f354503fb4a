"""What goes wrong, as clients are told: OpenAI's error object, for every status and in a stream."""

from __future__ import annotations

from typing import Any

import msgspec

from cierzo.engine.errors import EngineError, PromptTooLong, QueueFull

RETRY_SOON = 2  # seconds; for an engine that is on its way


class ErrorDetail(msgspec.Struct, frozen=True):
    """What went wrong, in words and in names that programs can match."""

    message: str
    type: str
    param: str | None = None  # the field at fault, such as messages[0].content
    code: str | None = None


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
    ) -> None:
        super().__init__(message)
        self.status = status
        self.detail = ErrorDetail(message, kind, param, code)
        self.retry_after = retry_after  # seconds

    def body(self) -> bytes:
        """The JSON of the error object."""
        return msgspec.json.encode(ErrorBody(self.detail))

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that the answer needs besides its length."""
        headers = [(b"content-type", b"application/json")]
        if self.retry_after is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after))
        if self.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        return headers


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A 400 that names the field at fault."""
    return ApiError(400, message, param=param, code=code)


def unsupported(param: str, what: str | None = None) -> ApiError:
    """A 400 for a parameter that is known but that this server cannot honour."""
    return bad_request(
        f"{what or param} is not supported by this server yet; leave it out",
        param,
        "unsupported_parameter",
    )


def unavailable(message: str, code: str, retry_after: int | None = RETRY_SOON) -> ApiError:
    """A 503 for a server that is loading, ending, or without its engine."""
    return ApiError(503, message, kind="server_error", code=code, retry_after=retry_after)


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
    return bad_request(
        f"{message}Please reduce the length of the {param} or completion.",
        param,
        "context_length_exceeded",
    )


def as_api_error(error: Exception) -> ApiError | None:
    """The answer to what the engine raises; None for what it does not mean to raise."""
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
    if isinstance(error, EngineError):
        return unavailable(str(error), "engine_error")
    return None


def stream_error(error: ApiError, head: dict[str, Any]) -> bytes:
    """The last event of a stream that broke: the error beside a choice that ends with it."""
    choice = {"index": 0, "delta": {"content": ""}, "text": "", "finish_reason": "error"}
    event = {**head, "error": error.detail, "choices": [choice]}
    return b"data: " + msgspec.json.encode(event) + b"\n\n"
