"""OpenAI's dialect, and OpenRouter's variant of it: what differs between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from starlette.types import Scope

from cierzo.api.dialect import dialect_of
from cierzo.api.errors import ApiError
from cierzo.api.http.to_json import to_json
from cierzo.api.openai.errors import ErrorBody, error_detail


@dataclass(frozen=True)
class OpenAiDialect:
    """One owner of these paths."""

    prefix: str
    code_is_status: bool  # what an error's `code` is: its status, or a name
    unknown_model_status: int
    usage_in_every_stream: bool  # or only in those that ask for it
    error_type: type = ErrorBody

    def error_body(self, error: ApiError) -> bytes:
        """The JSON of an answer that is an error."""
        return to_json(ErrorBody(error_detail(error, code_is_status=self.code_is_status)))

    def broken_event(
        self, error: ApiError, head: Mapping[str, Any], choice: Mapping[str, Any]
    ) -> bytes:
        """The last event of a stream that broke: the error beside a choice that ends with it."""
        ended = {"index": 0, **choice, "finish_reason": "error", "native_finish_reason": "error"}
        detail = error_detail(error, code_is_status=self.code_is_status)
        return b"data: " + to_json({**head, "error": detail, "choices": [ended]}) + b"\n\n"


OPENAI = OpenAiDialect(
    "/v1", code_is_status=False, unknown_model_status=404, usage_in_every_stream=False
)
OPENROUTER = OpenAiDialect(
    "/api/v1", code_is_status=True, unknown_model_status=400, usage_in_every_stream=True
)


def openai_dialect_of(scope: Scope) -> OpenAiDialect:
    """The dialect of a request to one of this room's routes."""
    return cast(OpenAiDialect, dialect_of(scope))
