"""Requests that cannot be answered get a 4xx that says why, from a server that goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.live import HELLO, Live

USER = {"role": "user", "content": "a"}
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


def refused(server: Live, path: str, body: dict[str, Any], status: int = 400) -> dict[str, Any]:
    """The error object."""
    for prefix in ("", "/api"):
        for stream in (False, True):
            response = server.post(prefix + path, {**body, "stream": stream})
            assert response.status_code == status, response.text
            assert response.headers["content-type"] == "application/json"
            error: dict[str, Any] = response.json()["error"]
            assert set(error) == {"message", "type", "param", "code", "metadata"}
            assert error["message"]
            assert "\n" not in error["message"]
            assert (error["code"] == status) == bool(prefix)
            name = error["metadata"].get("provider_code")
            assert prefix or error["code"] == name
            error["code"] = name
    return error


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [USER] * 5000}, "messages"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop": [str(i) for i in range(33)]}, "stop"),
        ({"stop": "x" * 1000}, "stop"),
        ({"n": 1000}, "n"),
        ({"logit_bias": {str(i): 1 for i in range(2000)}}, "logit_bias"),
        ({"logit_bias": {"100000": 1}}, "logit_bias"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": False, "top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"stop_token_ids": [1] * 2000}, "stop_token_ids"),
        ({"stop_token_ids": [100_000]}, "stop_token_ids"),
        ({"min_tokens": 9, "max_tokens": 3}, "min_tokens"),
        ({"min_tokens": 9, "response_format": {"type": "json_object"}}, "min_tokens"),
        ({"ignore_eos": True, "response_format": {"type": "json_object"}}, "ignore_eos"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"seed": 1.5}, "seed"),
        ({"structured_outputs": {"regex": "a+"}}, "structured_outputs.regex"),
        ({"guided_regex": "a+"}, "guided_regex"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": {}, "response_format": {"type": "text"}}, "guided_json"),
        ({"mirostat": 2}, "mirostat"),
        ({"typical_p": 0.5}, "typical_p"),
        ({"safe_prompt": True}, "safe_prompt"),
        ({"documents": [{"text": "a"}]}, "documents"),
        ({"options": {"temperature": 0.5}}, "options.temperature"),
        ({"chat_template_kwargs": {"custom": 1}}, "chat_template_kwargs.custom"),
        ({"extra_body": {"top_k": 1}}, "extra_body.top_k"),
        ({"random_seed": 1, "seed": 2}, "random_seed"),
        ({"temprature": 1}, "temprature"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"plugins": [{"id": "response-healing"}, {"id": "web"}]}, "plugins[1]"),
        ({"plugins": [{"id": "moderation"}]}, "plugins[0]"),
        ({"plugins": [{"enabled": True}]}, "plugins[0].id"),
        ({"transforms": ["middle-out", "other"]}, "transforms[1]"),
        ({"provider": {"fastest": True}}, "provider.fastest"),
        ({"provider": {"max_price": {"prompt": "cheap"}}}, "provider.max_price.prompt"),
        ({"prompt": "stored"}, "prompt"),
        ({"top_a": 1.5}, "top_a"),
        (
            {"messages": [USER, {"role": "assistant", "audio": {"id": "a"}}]},
            "messages[1].audio",
        ),
    ],
)
def test_chat_names_the_field(server: Live, fields: dict[str, Any], param: str) -> None:
    error = refused(server, CHAT, {"messages": HELLO, **fields})
    assert error["param"] == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [1, -1]}, "prompt[1]"),
        ({"prompt": [1, 100_000]}, "prompt"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a"] * 300}, "prompt"),
        ({"logprobs": 6}, "logprobs"),
        ({"best_of": 3}, "best_of"),
        ({"suffix": "end"}, "suffix"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"logprobs": -1}, "logprobs"),
        ({"guided_json": {}}, "guided_json"),
        ({"messages": HELLO}, "messages"),
    ],
)
def test_completions_name_the_field(server: Live, fields: dict[str, Any], param: str) -> None:
    error = refused(server, COMPLETIONS, {"prompt": "a", **fields})
    assert error["param"] == param


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
        {"response_format": {"type": "text"}, "modalities": ["text"], "reasoning": {}},
        {"reasoning": {"effort": "none", "exclude": True}, "reasoning_effort": "none"},
        {"reasoning": {"enabled": False, "summary": "auto"}, "include_reasoning": True},
        {"include_reasoning": False, "verbosity": "medium", "structured_outputs": False},
        {"provider": {"order": ["Other"], "data_collection": "deny", "zdr": True}},
        {"provider": {"sort": {"by": "price"}, "require_parameters": True, "only": ["cierzo"]}},
        {"provider": {"order": ["Cierzo/int8"], "allow_fallbacks": False, "ignore": ["Other"]}},
        {"provider": {"quantizations": ["int4", "int8"], "sort": "latency"}},
        {"provider": {"max_price": {"prompt": "0.2", "completion": 0.3, "image": "0"}}},
        {"provider": {"preferred_max_latency": 3, "preferred_min_throughput": {"p50": 100}}},
        {"models": ["other", "author/tiny"], "route": "fallback"},
        {"model": "other", "models": ["tiny"], "route": "sort"},
        {"model": "tiny", "models": ["other"], "transforms": ["middle-out"]},
        {"plugins": [{"id": "web", "enabled": False}, {"id": "context-compression"}]},
        {"plugins": [{"id": "response-healing"}, {"id": "file-parser", "pdf": {"engine": "x"}}]},
        {"stop_server_tools_when": [{"type": "step_count_is", "step_count": 3}]},
        {"trace": {"trace_id": "t"}, "safety_identifier": "s", "cache_control": {"type": "e"}},
        {"prompt_cache_retention": "24h", "prompt_cache_options": {"mode": "explicit"}},
        {"web_search_options": None, "store": False, "debug": {"echo_upstream_body": False}},
        {"prediction": {"type": "content", "content": [{"type": "text", "text": "a"}]}},
        {"temperature": None, "top_p": None, "stop": None, "seed": None, "n": None, "tools": None},
        {"user": "u", "metadata": {"a": "b"}, "session_id": "s", "prompt_cache_key": "k"},
        {"prediction": {"type": "content", "content": "a"}, "usage": {"include": True}},
        {"provider": {}, "models": [], "transforms": [], "plugins": [], "route": "fallback"},
        {"stop": [], "logit_bias": {}, "stream_options": {"include_usage": True}},
    ],
)
def test_what_asks_for_nothing_is_accepted(server: Live, fields: dict[str, Any]) -> None:
    response = server.chat(max_tokens=1, **fields)
    assert response.status_code == 200, response.text


def test_a_prompt_that_is_too_long(server: Live) -> None:
    text = "one two three " * 12_000
    for path, body, param in (
        (CHAT, {"messages": [{"role": "user", "content": text}]}, "messages"),
        (COMPLETIONS, {"prompt": text}, "prompt"),
        (COMPLETIONS, {"prompt": [5] * 32_769}, "prompt"),
        (COMPLETIONS, {"prompt": [5] * 32_768, "max_tokens": 1}, "prompt"),
    ):
        error = refused(server, path, body)
        assert error["code"] == "context_length_exceeded"
        assert error["param"] == param
        assert "maximum context length is 32768 tokens. However, " in error["message"]
        assert f"Please reduce the length of the {param} or completion." in error["message"]


def test_a_text_far_too_long_is_refused_unread(server: Live) -> None:
    """As large as a body may be, it would take many seconds to tokenize."""
    error = refused(server, CHAT, {"messages": [{"role": "user", "content": "ab" * 4_000_000}]})
    assert error["code"] == "context_length_exceeded"


def test_an_unknown_model_is_answered_as_each_owner_does(server: Live) -> None:
    openai = server.post("/v1/chat/completions", {"model": "gpt-9", "messages": HELLO})
    assert (openai.status_code, openai.json()["error"]["code"]) == (404, "model_not_found")
    assert "gpt-9" in openai.text
    assert "tiny" in openai.text
    openrouter = server.post("/api/v1/chat/completions", {"model": "gpt-9", "messages": HELLO})
    assert openrouter.status_code == 400
    assert "gpt-9 is not a valid model ID" in openrouter.json()["error"]["message"]


@pytest.mark.parametrize(
    ("provider", "param"),
    [
        ({"only": ["OpenAI", "Mistral"]}, "provider.only"),
        ({"ignore": ["Other", "cierzo"]}, "provider.ignore"),
        ({"order": ["Other"], "allow_fallbacks": False}, "provider.order"),
        ({"quantizations": ["fp8", "bf16"]}, "provider.quantizations"),
        ({"max_price": {"prompt": 0.05}}, "provider.max_price.prompt"),
        ({"max_price": {"completion": "0.299"}}, "provider.max_price.completion"),
        ({"enforce_distillable_text": True}, "provider.enforce_distillable_text"),
    ],
)
def test_a_provider_that_is_not_us_is_not_found(
    server: Live, provider: dict[str, Any], param: str
) -> None:
    error = refused(server, CHAT, {"messages": HELLO, "provider": provider}, status=404)
    assert (error["param"], error["code"]) == (param, "no_endpoints_found")
    refused(server, COMPLETIONS, {"prompt": "a", "provider": provider}, status=404)


def test_models_none_of_which_is_served(server: Live) -> None:
    body = {"models": ["gpt-9", "gpt-8"], "messages": HELLO}
    for path, status in ((CHAT, 404), (f"/api{CHAT}", 400)):
        response = server.post(path, body)
        assert response.status_code == status
        error = response.json()["error"]
        assert error["param"] == "models"
        assert error["metadata"]["provider_code"] == "model_not_found"
        assert "gpt-9" in error["message"]
        assert "tiny" in error["message"]


@pytest.mark.parametrize(
    "name",
    [
        *("tiny", "author/tiny", "Author/Tiny", " tiny "),
        *("openrouter/tiny", "openai/tiny", "hosted_vllm/author/tiny", "litellm_proxy/openai/tiny"),
        *("lm_studio/tiny", "ollama/tiny:latest", "my own laptop/tiny", "/tiny", "//author//tiny"),
        *("author/tiny:free", "openrouter/author/tiny:nitro", "a/b/c/d/e/f/g/h/i/j/author/tiny"),
    ],
)
def test_every_name_of_the_model_is_accepted_and_answered_with_the_first(
    server: Live, name: str
) -> None:
    assert server.chat(model=name, max_tokens=1).json()["model"] == "tiny"
    if not name.startswith("/"):
        with server.client() as client:
            found = client.get(f"/v1/models/{name}").json()
        assert found["id"] in ("tiny", "author/tiny")


@pytest.mark.parametrize(
    "name",
    [
        *("gpt-9", "openai/gpt-9", "tinyest", "notiny", "tiny/other", "author", "author/"),
        *("tiny:online", "tiny:thinking", "tiny:q4_k_m", "openrouter/auto", "tiny-tiny", "/"),
    ],
)
def test_other_models_are_not_answered_for(server: Live, name: str) -> None:
    for path, status in (("/v1", 404), ("/api/v1", 400)):
        response = server.post(f"{path}/chat/completions", {"model": name, "messages": HELLO})
        assert response.status_code == status
        assert name in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/", 405),
        ("GET", "/docs", 404),
        ("GET", "/redoc", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("OPTIONS", "/v1/chat/completions", 405),
        ("POST", "/v1/embeddings", 404),
        ("GET", "/v1/models/other", 404),
        ("GET", "/%00", 404),
        ("GET", "/v1/models/%ff", 404),
        ("BREW", "/coffee", 400),
    ],
)
def test_only_open_routes_answer(server: Live, method: str, path: str, status: int) -> None:
    with server.client() as client:
        response = client.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["message"]
    assert not [name for name in response.headers if name.startswith("access-control")]


FORM = "application/x-www-form-urlencoded"  # what curl says unless told otherwise
BROWSER = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
KEY = {"authorization": "Bearer any"}


@pytest.mark.parametrize(
    ("media", "headers", "status"),
    [
        ("application/json", {}, 200),
        ("application/json; charset=utf-8", BROWSER, 200),
        ("APPLICATION/JSON", {}, 200),
        ("text/json", {}, 200),
        ("application/vnd.api+json", {}, 200),
        ("application/octet-stream", BROWSER, 200),
        ("", {}, 200),
        (None, {}, 200),
        (None, BROWSER, 415),
        ("", {"sec-fetch-site": "same-site"}, 415),
        ("", {**BROWSER, **KEY}, 200),
        ("text/plain", {}, 415),
        ("text/plain;charset=UTF-8", BROWSER, 415),
        (FORM, {}, 415),
        ("text/plain", KEY, 200),
        (FORM, {"x-api-key": "any"}, 200),
        (FORM, {"authorization": "Basic eA=="}, 415),
        ("multipart/form-data; boundary=json", KEY, 415),
        ("application/xml", KEY, 415),
    ],
)
def test_only_json_is_taken(
    server: Live, media: str | None, headers: dict[str, str], status: int
) -> None:
    """What a page of another site can post without asking is refused.

    Such a page can neither name other types unasked nor send a key; a program that does is read.
    """
    body = json.dumps({"messages": HELLO, "max_tokens": 1}).encode()
    declared = {} if media is None else {"content-type": media}
    with server.client() as client:
        response = client.post(CHAT, content=body, headers={**declared, **headers})
    assert response.status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1234", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("evil.example:127.0.0.1", 403),
        ("", 403),
    ],
)
def test_only_our_own_host_is_answered(server: Live, host: str, status: int) -> None:
    with server.client() as client:
        response = client.get("/v1/models", headers={"host": host})
    assert response.status_code == status
    if status == 403:
        assert "allowed_hosts" in response.json()["error"]["message"]
