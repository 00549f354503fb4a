"""The documentation's examples run as they stand, against the server that they speak of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cierzo.api.openai.wire.chat import ChatRequest
from tests.api.live import HELLO, ROOT, Live, start
from tests.support.examples import DOCUMENTED, blocks, run_python, run_shell

PAGES = ["parameters", "tools", "structured-output"]


@pytest.fixture(scope="module")
def server(default_model: Path) -> Iterator[Live]:
    names = ("smollm2-135m",)
    with start(default_model, server__aliases=names, engine__kv_cache_memory_mb=256) as live:
        yield live


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_python(page: str, server: Live, capsys: pytest.CaptureFixture[str]) -> None:
    assert blocks(page, "python")
    run_python(page, server.url)
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("page", [*PAGES, "clients"])
def test_curl(page: str, server: Live) -> None:
    for command in blocks(page, "sh"):
        if command.startswith("curl ") and DOCUMENTED in command:
            assert "error" not in json.loads(run_shell(command, server.url))


def test_the_error_that_is_shown_is_the_one_that_comes(server: Live) -> None:
    (shown,) = blocks("parameters", "json")
    assert server.chat(temperature=7).json() == json.loads(shown)


@pytest.mark.slow
def test_a_miss_is_told_as_it_is_shown(server: Live, capsys: pytest.CaptureFixture[str]) -> None:
    told = run_python("cache-diagnostics", server.url)["told"]
    (shown,) = blocks("cache-diagnostics", "json")
    one, other = dict(told), json.loads(shown)
    assert one.pop("comparison_response_id") != other.pop("comparison_response_id")
    assert one == other
    assert capsys.readouterr().out.strip() == other["advice"]


def test_every_parameter_is_explained() -> None:
    text = "".join((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"`([a-z_]+)(?:`|\.|:)", text))
    assert set(ChatRequest.__struct_fields__) <= named


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0]"),
        ({"stop": [str(i) for i in range(33)]}, "stop"),
        ({"n": 9}, "n"),
        ({"models": ["another"]}, "model"),
        ({"provider": {"only": ["another"]}}, "provider.only"),
        ({"plugins": [{"id": "web"}]}, "plugins[0]"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"functions": [{"name": "older"}]}, "functions"),
    ],
)
def test_what_is_said_to_be_refused_is(server: Live, fields: dict[str, Any], param: str) -> None:
    answer = server.chat(**{"messages": HELLO, **fields})
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["param"].startswith(param)


def test_what_is_said_to_be_without_effect_is(server: Live) -> None:
    plain = server.chat(seed=1, max_tokens=8).json()["choices"]
    fields: dict[str, Any] = {
        "user": "somebody",
        "metadata": {"a": "b"},
        "session_id": "s",
        "safety_identifier": "i",
        "trace": {"a": 1},
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "service_tier": "flex",
        "store": True,
        "verbosity": "low",
        "reasoning_effort": "high",
        "include_reasoning": True,
        "stop_server_tools_when": [],
        "prediction": {"type": "content", "content": "Hello"},
        "structured_outputs": True,
    }
    for name, value in fields.items():
        assert server.chat(seed=1, max_tokens=8, **{name: value}).json()["choices"] == plain, name
