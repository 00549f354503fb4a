"""API keys: asked for where requests are answered, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.live import HELLO, Live, start


@pytest.fixture(scope="module")
def guarded(model: Path) -> Iterator[Live]:
    with start(model, server__api_keys=("first-key", "second-key")) as server:
        yield server


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer first-key"},
        {"authorization": "bearer second-key"},
        {"x-api-key": "second-key"},
    ],
)
def test_any_of_the_keys_opens(guarded: Live, headers: dict[str, str]) -> None:
    body = {"messages": HELLO, "max_tokens": 1}
    assert guarded.post("/v1/chat/completions", body, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer third-key"},
        {"authorization": "Bearer first-key2"},
        {"authorization": "Basic first-key"},
        {"authorization": "first-key"},
        {"authorization": b"Bearer \xff\xfe"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/completions", "/v1/nothing"])
def test_nothing_else_does(guarded: Live, path: str, headers: dict[str, str | bytes]) -> None:
    response = guarded.post(path, {}, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert "first-key" not in response.text


def test_health_and_metrics_need_none(guarded: Live) -> None:
    assert guarded.health() == (200, "ready")
    assert guarded.metrics()
