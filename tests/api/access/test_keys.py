"""API keys: asked for where requests are answered, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.live import HELLO, Live, start


@pytest.fixture(scope="module")
def guarded(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    file = tmp_path_factory.mktemp("keys") / "keys.txt"
    file.write_text("# who may\n\n  filed-key \nother-key\n")
    keys = ("first-key", "second-key")
    with start(model, server__api_keys=keys, server__api_key_file=str(file)) as server:
        yield server


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer first-key"},
        {"authorization": "bearer second-key"},
        {"x-api-key": "second-key"},
        {"authorization": "Bearer filed-key"},
        {"authorization": "Bearer  other-key"},
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
        {"authorization": "Bearer first-key,second-key"},
        {"authorization": "Bearer # who may"},
        {"authorization": b"Bearer \xff\xfe"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/completions", "/v1/nothing"])
def test_nothing_else_does(guarded: Live, path: str, headers: dict[str, str | bytes]) -> None:
    response = guarded.post(path, {}, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    error = response.json()["error"]
    assert error["metadata"] == {"error_type": "authentication", "provider_code": "invalid_api_key"}
    assert error["code"] == (401 if path.startswith("/api/") else "invalid_api_key")
    assert "first-key" not in response.text


def test_health_and_metrics_need_none(guarded: Live) -> None:
    assert guarded.health() == (200, "ready")
    assert guarded.metrics()


@pytest.mark.parametrize("key", ["Bearer anything", "nonsense", ""])
def test_where_no_key_is_set_any_is_accepted(server: Live, key: str) -> None:
    body = {"messages": HELLO, "max_tokens": 1}
    headers = {"authorization": key}
    assert server.post("/v1/chat/completions", body, headers=headers).status_code == 200
