"""The app's OpenAPI says what the app does."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from tests.api.live import HELLO, Live
from tests.api.openai.test_chat import events


@pytest.fixture(scope="module")
def document(server: Live) -> dict[str, Any]:
    with server.client() as client:
        found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def check(document: dict[str, Any], name: str, value: object) -> None:
    """Checks a value against a class of the document, which must name every field in it."""
    schemas = {
        key: {**schema, "additionalProperties": False} if "properties" in schema else schema
        for key, schema in document["components"]["schemas"].items()
    }
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    jsonschema.Draft202012Validator(schema).validate(value)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(value: object) -> set[str]:
        if isinstance(value, dict):
            found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return found.union(*(references(inner) for inner in value.values()))
        if isinstance(value, list):
            return set().union(*(references(inner) for inner in value))
        return set()

    names = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= names


def test_the_routes_are_these(document: dict[str, Any]) -> None:
    assert {
        (path, method) for path, methods in document["paths"].items() for method in methods
    } == {
        ("/v1/chat/completions", "post"),
        ("/api/v1/chat/completions", "post"),
        ("/v1/completions", "post"),
        ("/api/v1/completions", "post"),
        ("/v1/models", "get"),
        ("/api/v1/models", "get"),
        ("/v1/models/{name}", "get"),
        ("/api/v1/models/{author}/{slug}/endpoints", "get"),
        ("/api/v1/models/{slug}/endpoints", "get"),
        ("/tokenize", "post"),
        ("/detokenize", "post"),
        ("/tokenizer_info", "get"),
        ("/v1/cache", "delete"),
        ("/health", "get"),
        ("/metrics", "get"),
    }


def test_every_route_says_how_it_fails(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for route in methods.values():
            assert "200" in route["responses"]
            if path != "/metrics":
                assert {"400", "401", "404", "503"} <= set(route["responses"])
            if "requestBody" in route:
                assert route["requestBody"]["required"]


def test_answers_are_as_described(server: Live, document: dict[str, Any]) -> None:
    body = {"messages": HELLO, "max_tokens": 6, "logprobs": True, "top_logprobs": 2, "n": 2}
    check(document, "ChatRequest", body)
    check(document, "ChatCompletion", server.post("/v1/chat/completions", body).json())
    stream = server.post("/api/v1/chat/completions", {**body, "stream": True}).text
    for event in events(stream):
        check(document, "ChatChunk", event)

    body = {"prompt": ["a", "b"], "max_tokens": 3, "logprobs": 2, "echo": True}
    check(document, "CompletionRequest", body)
    check(document, "Completion", server.post("/v1/completions", body).json())
    stream = server.post("/api/v1/completions", {**body, "stream": True}).text
    for event in events(stream):
        check(document, "Completion", event)

    with server.client() as client:
        check(document, "ModelList", client.get("/v1/models").json())
        check(document, "Model", client.get("/v1/models/author/tiny").json())
        check(document, "Health", client.get("/health").json())
        check(document, "ErrorBody", client.get("/v1/nothing").json())
        check(document, "ErrorBody", client.post("/v1/completions", json={}).json())


def test_what_the_server_refuses_the_description_refuses(document: dict[str, Any]) -> None:
    requests: list[dict[str, Any]] = [
        {"messages": []},
        {"messages": HELLO, "temperature": 3},
        {"messages": HELLO, "frobnicate": 1},
        {"messages": [{"role": "wizard", "content": "a"}]},
    ]
    for wrong in requests:
        with pytest.raises(jsonschema.ValidationError):
            check(document, "ChatRequest", wrong)
