"""The documentation's examples run as they stand, against the server that they speak of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.live import Live, start
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


@pytest.mark.parametrize("page", PAGES)
def test_json(page: str) -> None:
    for block in blocks(page, "json"):
        assert json.loads(block)
