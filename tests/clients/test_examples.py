"""The page on clients: libraries run as they stand, agents' files are files of their kind."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.live import ROOT, Live, start
from tests.support.examples import DOCUMENTED, blocks, run_python

PAGE = "clients"


@pytest.fixture(scope="module")
def served_by_name(default_model: Path) -> Iterator[Live]:
    names = ("smollm2-135m",)
    with start(default_model, server__aliases=names, engine__kv_cache_memory_mb=256) as live:
        yield live


def test_the_libraries_run(served_by_name: Live, capsys: pytest.CaptureFixture[str]) -> None:
    run_python(PAGE, served_by_name.url)
    assert len(capsys.readouterr().out.splitlines()) >= len(blocks(PAGE, "python"))


def test_the_agents_files_name_the_server() -> None:
    (toml,) = blocks(PAGE, "toml")
    vibe = tomllib.loads(toml)
    assert vibe["providers"][0]["api_base"] == f"{DOCUMENTED}/v1"
    aliases = {model["alias"]: model["provider"] for model in vibe["models"]}
    assert aliases[vibe["active_model"]] == vibe["providers"][0]["name"]
    (aider,) = blocks(PAGE, "json")
    assert json.loads(aider)["openai/devstral-small"]["mode"] == "chat"


def test_agents_that_are_read_as_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    mini, cont = [yaml.safe_load(block) for block in blocks(PAGE, "yaml")]
    assert mini["model"]["model_kwargs"]["api_base"] == f"{DOCUMENTED}/v1"
    assert cont["models"][0]["apiBase"] == f"{DOCUMENTED}/v1"


def test_every_address_has_a_path_of_the_server_s() -> None:
    text = (ROOT / "docs" / f"{PAGE}.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"http://(?:127\.0\.0\.1|host\.docker\.internal):8000([/\w]*)", text))
    assert paths == {"/v1", "/api/v1", "/v1/chat/completions"}
