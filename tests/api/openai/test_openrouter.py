"""What OpenRouter's clients read, held against its schemas, and what they may ask for."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest

from tests.api.live import HELLO, NO_END, Live
from tests.api.openai.test_chat import streamed
from tests.api.openrouter import conforms, validator

CHAT = "/api/v1/chat/completions"
PATHS = pytest.mark.parametrize("path", ["/v1", "/api/v1"])


@PATHS
def test_a_whole_answer_is_as_the_schema_says(server: Live, path: str) -> None:
    body = {"messages": HELLO, "max_tokens": 6, "logprobs": True, "top_logprobs": 2, "n": 2}
    conforms("ChatRequest", body)
    response = server.post(f"{path}/chat/completions", body)
    answer = response.json()
    conforms("ChatResult", answer)
    assert re.fullmatch(r"gen-\d{10}-[A-Za-z0-9]{20}", answer["id"])
    assert response.headers["x-generation-id"] == answer["id"]
    assert answer["provider"] == "Cierzo"
    for choice in answer["choices"]:
        assert choice["native_finish_reason"] == choice["finish_reason"]


@PATHS
def test_every_event_of_a_stream_is_as_the_schema_says(server: Live, path: str) -> None:
    chunks = streamed(server, path, max_tokens=6, logprobs=True, stream_options=None, seed=4)
    for chunk in chunks:
        conforms("ChatStreamChunk", chunk)
        assert chunk["provider"] == "Cierzo"
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert all("role" not in delta for delta in deltas[1:])


def test_usage_has_its_price(server: Live) -> None:
    """The tests' model costs what Devstral does: $0.10 and $0.30 a million."""
    answer = server.post(CHAT, {"messages": HELLO, "max_tokens": 7, "logit_bias": NO_END}).json()
    usage = answer["usage"]
    assert usage["completion_tokens"] == 7
    prompt, completion = usage["prompt_tokens"] * 0.1e-6, 7 * 0.3e-6
    assert usage["cost"] == pytest.approx(prompt + completion, rel=1e-9)
    details = usage["cost_details"]
    assert details["upstream_inference_prompt_cost"] == pytest.approx(prompt, rel=1e-9)
    assert details["upstream_inference_completions_cost"] == pytest.approx(completion, rel=1e-9)
    assert usage["prompt_tokens_details"].keys() >= {"cached_tokens"}
    assert not usage["is_byok"]


def test_a_prediction_that_is_not_what_is_said_changes_nothing(server: Live) -> None:
    prediction = {"type": "content", "content": "Hello"}
    answer = server.post(CHAT, {"messages": HELLO, "max_tokens": 2, "prediction": prediction})
    details = answer.json()["usage"]["completion_tokens_details"]
    assert details["accepted_prediction_tokens"] == details["rejected_prediction_tokens"] == 0


@pytest.mark.parametrize(
    ("path", "fields", "times"),
    [
        ("/v1", {}, 0),
        ("/v1", {"stream_options": {"include_usage": False}}, 0),
        ("/v1", {"stream_options": {"include_usage": True}}, 1),
        ("/v1", {"usage": {"include": True}}, 1),
        ("/api/v1", {}, 1),
        ("/api/v1", {"stream_options": {"include_usage": False}}, 1),
        ("/api/v1", {"usage": {"include": False}, "n": 3}, 1),
    ],
)
def test_usage_comes_once_in_a_last_event_of_its_own(
    server: Live, path: str, fields: dict[str, Any], times: int
) -> None:
    chunks = streamed(server, path, max_tokens=3, **fields)
    assert len([chunk for chunk in chunks if "usage" in chunk]) == times
    if times:
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["total_tokens"] > 0


def test_the_model_s_own_defaults_hold_where_a_request_says_nothing(server: Live) -> None:
    """The tests' model is advised to be sampled at temperature 0.9."""

    def text(**fields: Any) -> str:
        answer = server.chat(max_tokens=24, seed=11, logit_bias=NO_END, **fields).json()
        return str(answer["choices"][0]["message"]["content"])

    assert text() == text(temperature=None) == text(temperature=0.9)
    assert text() != text(temperature=2)
    with server.client() as client:
        (model, _) = client.get("/api/v1/models").json()["data"]
    assert model["default_parameters"]["temperature"] == 0.9


@pytest.mark.parametrize(
    "field", [{"top_a": 1}, {"min_p": 0.5}, {"top_k": 2}, {"top_p": 0.1}, {"repetition_penalty": 2}]
)
def test_every_way_to_sample_tells(server: Live, field: dict[str, Any]) -> None:
    def text(**fields: Any) -> str:
        bias = {**NO_END, "50": 6}  # one token stands out from a model that knows nothing
        body = {"max_tokens": 24, "seed": 3, "temperature": 1.5, "logit_bias": bias, **fields}
        return str(server.chat(**body).json()["choices"][0]["message"]["content"])

    assert text(**field) == text(**field) != text()


def test_without_a_seed_answers_differ(server: Live) -> None:
    texts = {
        server.chat(max_tokens=24, temperature=2, logit_bias=NO_END).text.partition("choices")[2]
        for _ in range(3)
    }
    assert len(texts) == 3


def test_the_tier_that_was_used_is_said(server: Live) -> None:
    assert "service_tier" not in server.chat(max_tokens=1).json()
    assert server.chat(max_tokens=1, service_tier="flex").json()["service_tier"] == "default"


REQUESTS: list[tuple[dict[str, Any], int]] = [
    ({}, 200),
    ({"temperature": 0, "top_p": 1, "top_k": 1, "min_p": 0.05, "top_a": 0.1}, 200),
    ({"frequency_penalty": -2, "presence_penalty": 2, "repetition_penalty": 1.5}, 200),
    ({"logit_bias": {"5": -100, "6": 100}, "seed": -1, "stop": ["a", "b", "c", "d"]}, 200),
    ({"stop": None, "seed": None, "temperature": None, "logprobs": None, "top_k": None}, 200),
    ({"models": ["tiny"], "route": "fallback", "provider": {"sort": "price"}}, 200),
    ({"provider": None, "prediction": None, "parallel_tool_calls": None}, 200),
    ({"reasoning": {"effort": "none"}, "reasoning_effort": None, "modalities": ["text"]}, 200),
    ({"plugins": [{"id": "response-healing", "enabled": True}], "user": "u"}, 200),
    ({"metadata": {"a": "b"}, "session_id": "s", "trace": {"trace_id": "t", "more": 1}}, 200),
    ({"service_tier": "priority", "cache_control": {"type": "ephemeral"}}, 200),
    ({"stream_options": {"include_usage": True}, "debug": {"echo_upstream_body": False}}, 200),
    ({"reasoning": {"effort": "high", "summary": "auto"}}, 200),
    ({"reasoning_effort": "minimal"}, 200),
    ({"modalities": ["text", "image"]}, 400),
    ({"plugins": [{"id": "web", "max_results": 3}]}, 400),
    ({"plugins": [{"id": "fusion"}]}, 400),
    ({"debug": {"echo_upstream_body": True}}, 200),
    ({"provider": {"only": ["OpenAI"]}}, 404),
    ({"model": "openai/gpt-9"}, 400),
]


@pytest.mark.parametrize(("fields", "status"), REQUESTS)
def test_what_the_schema_allows_is_honoured_or_refused_in_words(
    server: Live, fields: dict[str, Any], status: int
) -> None:
    body = {"messages": HELLO, "max_tokens": 1, **fields}
    conforms("ChatRequest", body)
    response = server.post(CHAT, body)
    assert response.status_code == status, response.text
    if status == 200:
        conforms("ChatResult", response.json())
    else:
        error = response.json()["error"]
        assert next(iter(fields)) in error["message"] or error["param"] == next(iter(fields))


PARTS: list[dict[str, Any]] = [
    {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}},
    {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part["type"])
def test_parts_that_are_no_text_are_refused_by_name(server: Live, part: dict[str, Any]) -> None:
    text = {"type": "text", "text": "What is this?"}
    body = {"messages": [{"role": "user", "content": [text, part]}]}
    conforms("ChatRequest", body)
    response = server.post(CHAT, body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "messages[0].content[1].type"
    assert part["type"] in error["message"]
    assert "'text' only" in error["message"]


LONG = [{"role": "user", "content": "wind " * 33_000}]  # leaves too little of the context


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"messages": HELLO, "temperature": 3}, 400, "invalid_request"),
        ({"messages": HELLO, "model": "gpt-9"}, 400, "invalid_request"),
        ({"messages": LONG, "max_tokens": 40_000}, 400, "context_length_exceeded"),
        ({"messages": HELLO, "provider": {"ignore": ["Cierzo"]}}, 404, "not_found"),
    ],
)
def test_errors_are_as_the_schema_says(
    server: Live, body: dict[str, Any], status: int, kind: str
) -> None:
    response = server.post(CHAT, body)
    assert response.status_code == status
    conforms("BadRequestResponse", response.json())  # those of other statuses have its form
    error = response.json()["error"]
    assert error["code"] == status
    assert error["metadata"]["error_type"] == kind
    conforms("ApiErrorType", error["metadata"]["error_type"])


def test_models_are_as_the_schema_says(server: Live) -> None:
    with server.client() as client:
        for path in ("/v1/models", "/api/v1/models"):
            listed = client.get(path).json()
            conforms("ModelsListResponse", listed)
            assert [model["id"] for model in listed["data"]] == ["tiny", "author/tiny"]
        for model in listed["data"]:
            endpoints = client.get(model["links"]["details"]).json()["data"]
            conforms("ListEndpointsResponse", endpoints)
            assert endpoints["id"] == model["id"]
        missing = client.get("/api/v1/models/author/other/endpoints")
        assert missing.status_code == 404
        conforms("NotFoundResponse", missing.json())
    (endpoint,) = endpoints["endpoints"]
    for told in (model, endpoint):
        assert told["pricing"]["prompt"] == "0.0000001"
        assert told["pricing"]["completion"] == "0.0000003"
        assert told["context_length"] == 32_768
        assert told["quantization"] == "int8"
    assert endpoint["max_completion_tokens"] == model["top_provider"]["max_completion_tokens"]
    assert model["architecture"]["modality"] == "text->text"


def test_every_supported_parameter_is_taken(server: Live) -> None:
    values: dict[str, Any] = {
        "max_tokens": 2,
        "max_completion_tokens": 1,
        "logit_bias": {},
        "logprobs": True,
        "top_logprobs": 1,
        "seed": 1,
        "stop": "a",
        "top_k": 4,
        "response_format": {"type": "json_object"},
        "structured_outputs": True,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    }
    with server.client() as client:
        supported = client.get("/api/v1/models").json()["data"][0]["supported_parameters"]
    assert {"temperature", "top_a", "seed", "stop", "logit_bias"} <= set(supported)
    body = {name: values.get(name, 0.5) for name in supported}
    response = server.post(CHAT, {"messages": HELLO, **body})
    assert response.status_code == 200, response.text


def test_the_oracle_can_fail() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator("ChatResult").validate({"id": "a"})
