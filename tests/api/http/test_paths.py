"""What a path can only mean is served; keys are asked for whatever the spelling."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.live import HELLO, Live, start
from tests.api.wire import Reply, exchange, with_headers

BODY = {"messages": HELLO, "max_tokens": 1}

CHATS = [
    "/v1/chat/completions",
    "/v1/chat/completions/",
    "//v1/chat/completions",
    "/v1//chat///completions//",
    "/v1/v1/chat/completions",
    "/chat/completions",
    "/chat/completions/",
    "/openai/v1/chat/completions",
    "/openai/chat/completions",
    "/v1/openai/chat/completions",
    "/api/v1/chat/completions",
    "/api/v1/chat/completions/",
    "//api//v1/chat/completions",
    "/api/v1/v1/chat/completions",
    "/api/v1/api/v1/chat/completions",
    "/api/chat/completions",
    "/v1/chat/completions/chat/completions",
    "/v1/ch%61t/completions",
    "/v1/chat%2Fcompletions",
    "/%2Fv1/chat/completions",
    "/v1/chat/completions?api-version=2024-10-21",
    "/v1/chat/completions/?a=b/c",
]
GETS = [
    ("/models", "list"),
    ("/models/", "list"),
    ("/v1/models/", "list"),
    ("/v1/v1/models", "list"),
    ("/api/models", "list"),
    ("/v1/chat/completions/models", "list"),
    ("/models/tiny", "model"),
    ("/models/author/tiny", "model"),
    ("/v1/models/author%2Ftiny", "model"),
    ("/v1//models//author/tiny/", "model"),
    ("/api/v1/models/author/tiny/endpoints/", None),
    ("/api/v1/v1/models/tiny/endpoints", None),
    ("/openapi.json/", None),
    ("/health/", None),
    ("/v1/health", None),
    ("//metrics", None),
]


def post(server: Live, path: str, body: object, *lines: str) -> Reply:
    """As bytes: clients' libraries would tidy the path."""
    return exchange(server, with_headers(*lines, body=json.dumps(body).encode(), path=path))


def ask(server: Live, method: str, path: str) -> Reply:
    request = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return exchange(server, request.encode())


@pytest.mark.parametrize("path", CHATS)
def test_any_way_to_a_chat(server: Live, path: str) -> None:
    assert post(server, path, BODY).json()["object"] == "chat.completion"
    error = post(server, path, {}).json()["error"]
    assert (error["code"] == 400) == ("api/" in path)  # in the form of the path's owner


@pytest.mark.parametrize("path", ["/completions", "/v1/completions/", "/api/completions"])
def test_any_way_to_a_completion(server: Live, path: str) -> None:
    answer = post(server, path, {"prompt": "a", "max_tokens": 1}).json()
    assert answer["object"] == "text_completion"


@pytest.mark.parametrize(("path", "kind"), GETS)
def test_any_way_to_the_other_routes(server: Live, path: str, kind: str | None) -> None:
    assert ask(server, "HEAD", path).status == 200
    reply = ask(server, "GET", path)
    assert reply.status == 200
    assert kind is None or reply.json()["object"] == kind


@pytest.mark.parametrize(
    ("method", "path", "advice"),
    [
        ("POST", "/v1/chat/completion", "did you mean POST /v1/chat/completions?"),
        ("POST", "/v1/chat/compl%C3%A9tions", "did you mean POST /v1/chat/completions?"),
        ("POST", "/V1/Chat/Completions", "did you mean POST /v1/chat/completions?"),
        ("GET", "/v1/model", "did you mean GET /v1/models?"),
        ("POST", "/api/v1/chat/complete", "did you mean POST /api/v1/chat/completions?"),
        ("POST", "/v1/messages", "POST /v1/chat/completions, "),
        ("POST", "/v1/responses", "POST /v1/chat/completions, "),
        ("POST", "/api/generate", "POST /api/v1/chat/completions, "),
        ("GET", "/v1", "GET /v1/models"),
        ("GET", "/v1/../metrics", "GET /v1/models"),
        ("GET", "/" + "v1/" * 10_000, "GET /v1/models"),
        ("GET", "/" + "x" * 60_000, "GET /v1/models"),
        ("GET", "/v1/%0a%0d%e2%80%a8", "GET /v1/models"),
    ],
)
def test_a_path_that_means_nothing_is_told_the_right_one(
    server: Live, method: str, path: str, advice: str
) -> None:
    reply = ask(server, method, path) if method == "GET" else post(server, path, BODY)
    assert reply.status == 404
    assert reply.headers["content-type"] == "application/json"
    error = reply.json()["error"]
    assert advice in error["message"]
    assert len(error["message"]) < 500
    assert error["code"] == (404 if path.startswith("/api/") else "no_such_route")


@pytest.fixture(scope="module")
def guarded(model: Path) -> Iterator[Live]:
    with start(model, server__api_keys=["key"]) as server:
        yield server


@pytest.mark.parametrize("path", CHATS)
def test_no_way_leads_around_the_key(guarded: Live, path: str) -> None:
    assert post(guarded, path, BODY).status == 401
    assert post(guarded, path, BODY, "Authorization: Bearer key").status == 200


@pytest.mark.parametrize(
    "path",
    ["/models", "/v1/v1/models", "//v1/models", "/%76%31/models", "/v1/..//models", "/nothing"],
)
def test_nor_to_anything_else(guarded: Live, path: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "PUT"):
        assert ask(guarded, method, path).status == 401


@pytest.mark.parametrize("target", ["http://localhost/v1/models", "http://x@h//v1/models", "*"])
def test_nor_does_a_proxy_s_form(guarded: Live, target: str) -> None:
    assert ask(guarded, "OPTIONS", target).status in (400, 401)


@pytest.mark.parametrize("path", ["/", "/health", "/health/", "//metrics", "/openapi.json"])
def test_what_is_open_stays_open(guarded: Live, path: str) -> None:
    assert ask(guarded, "GET", path).status == 200
