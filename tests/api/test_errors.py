"""One error, in the forms that each family of clients reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cierzo.api.errors import ApiError, bad_request, unavailable
from cierzo.api.openai.dialect import OPENAI, OPENROUTER, OpenAiDialect
from cierzo.api.openai.errors import api_error
from cierzo.engine.errors import EngineError, NoAnswer, PromptTooLong, QueueFull
from cierzo.generate.refused import Reason, Refused, TooLong, refusal_of
from tests.api.openrouter import conforms

ERRORS = [
    (bad_request("temperature: must be hot", "temperature"), "invalid_request"),
    (ApiError(401, "no key", kind="authentication_error", code="x"), "authentication"),
    (ApiError(403, "another host"), "permission_denied"),
    (ApiError(404, "no such model", code="model_not_found"), "not_found"),
    (ApiError(408, "too slow"), "timeout"),
    (ApiError(413, "too large"), "payload_too_large"),
    (ApiError(415, "no JSON"), "invalid_request"),
    (ApiError(422, "no answer", code="no_valid_answer"), "unprocessable"),
    (ApiError(429, "later", retry_after=3), "rate_limit_exceeded"),
    (ApiError(500, "a defect"), "server"),
    (ApiError(502, "no engine"), "provider_unavailable"),
    (unavailable("loading", "loading"), "provider_unavailable"),
    (api_error(TooLong(10, 12, part=("messages",))), "context_length_exceeded"),
]


@pytest.mark.parametrize(("error", "kind"), ERRORS, ids=lambda value: str(value)[:12])
def test_openrouter_s_clients_get_the_status_and_openai_s_a_name(
    error: ApiError, kind: str
) -> None:
    openrouter = json.loads(OPENROUTER.error_body(error))
    conforms("BadRequestResponse", openrouter)
    assert openrouter["error"]["code"] == error.status
    openai = json.loads(OPENAI.error_body(error))
    assert openai["error"]["code"] is None or isinstance(openai["error"]["code"], str)
    for told in (openrouter["error"], openai["error"]):
        assert told["message"] == str(error)
        assert told["metadata"]["error_type"] == kind
        conforms("ApiErrorType", told["metadata"]["error_type"])
        assert told["metadata"].get("provider_code") == openai["error"]["code"]
        assert told["type"]


@pytest.mark.parametrize(
    ("raised", "status", "retry"),
    [
        (QueueFull(9, 7), 429, "7"),
        (EngineError("the engine died"), 502, "2"),
        (NoAnswer("nothing fits"), 422, None),
        (PromptTooLong(9, 8), 400, None),
    ],
)
def test_what_the_engine_raises_has_a_status(
    raised: Exception, status: int, retry: str | None
) -> None:
    refused = refusal_of(raised)
    assert refused is not None
    error = api_error(refused)
    assert error.status == status
    headers = {name.decode(): value.decode() for name, value in error.headers()}
    assert headers.get("retry-after") == retry


def test_an_engine_that_will_not_come_back_is_unavailable() -> None:
    refused = Refused(Reason.FAILED, "the server is stopping")
    assert api_error(refused, ending=True).status == 503


def test_a_defect_is_not_dressed_up() -> None:
    assert refusal_of(KeyError("x")) is None


def test_clients_are_told_when_another_try_is_of_no_use() -> None:
    dead = unavailable("the engine is dead", "engine_dead", None)
    assert (b"x-should-retry", b"false") in dead.headers()
    soon = unavailable("loading", "loading")
    assert not [name for name, _ in soon.headers() if name == b"x-should-retry"]


@pytest.mark.parametrize("dialect", [OPENAI, OPENROUTER])
def test_the_last_event_of_a_broken_stream(dialect: OpenAiDialect) -> None:
    head = {"id": "gen-1", "created": 1, "model": "m", "object": "chat.completion.chunk"}
    error = unavailable("the engine died", "engine_error")
    data = dialect.broken_event(error, head, {"delta": {"content": ""}})
    assert data.startswith(b"data: ")
    assert data.endswith(b"\n\n")
    event: dict[str, Any] = json.loads(data[6:])
    assert event["choices"][0]["finish_reason"] == "error"
    assert event["choices"][0]["delta"] == {"content": ""}
    if dialect is OPENROUTER:
        conforms("ChatStreamChunk", event)
