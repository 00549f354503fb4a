"""OpenAI's error object, with OpenRouter's words in it, and what each refusal becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from cierzo.api.errors import (
    AGENTS_CONTEXT,
    RETRY_SOON,
    TOO_FEW_FOR_AGENTS,
    ApiError,
    bad_request,
    unavailable,
)
from cierzo.api.openai.parts import spelled
from cierzo.generate.refused import Reason, Refused, TooLong

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


def error_detail(error: ApiError, *, code_is_status: bool) -> ErrorDetail:
    """The object that says what went wrong."""
    kind = _ERROR_TYPES.get(error.status, "invalid_request")
    if error.code == "context_length_exceeded":
        kind = error.code
    code = error.status if code_is_status else error.code
    metadata = ErrorMetadata(kind, error.code)
    return ErrorDetail(str(error), error.kind, error.param, code, metadata)


@dataclass(frozen=True)
class _Kind:
    """What a reason for a refusal is over HTTP."""

    status: int
    code: str | None = None
    type: str = "invalid_request_error"
    retry_after: int | None = None  # seconds, if the refusal does not say


_KINDS = {
    Reason.INVALID: _Kind(400),
    Reason.UNSUPPORTED: _Kind(400, "unsupported_parameter"),
    Reason.BUSY: _Kind(429, "queue_full", "rate_limit_error"),
    Reason.NO_ANSWER: _Kind(422, "no_valid_answer"),
    Reason.FAILED: _Kind(502, "engine_error", "server_error", RETRY_SOON),
}


def api_error(
    refused: Refused, tool_places: Sequence[str] = (), *, ending: bool = False
) -> ApiError:
    """What a refusal is over HTTP. `ending`: the engine is gone for good, or soon will be."""
    param = spelled(refused.part, tool_places) or None
    if isinstance(refused, TooLong):
        return context_length_exceeded(refused, param or "prompt")
    text = refused.text if param in (None, "messages") else f"{param}: {refused.text}"
    if refused.reason is Reason.FAILED and ending:
        return unavailable(text, "engine_error")
    kind = _KINDS[refused.reason]
    return ApiError(
        kind.status,
        text,
        kind=kind.type,
        param=param,
        code=kind.code,
        retry_after=refused.retry_after or kind.retry_after,
    )


def context_length_exceeded(refused: TooLong, param: str) -> ApiError:
    """A 400 in OpenAI's words, which agents match to shorten their history."""
    limit, prompt, answer = refused.max_model_len, refused.prompt_tokens, refused.answer_tokens
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
