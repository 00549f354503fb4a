"""`cierzo cache`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cierzo import LLM, SamplingParams
from tests.cli.run import cierzo

ASKED = SamplingParams(max_tokens=4, temperature=0.0)


def used(model: Path, folder: Path) -> LLM:
    llm = LLM(str(model), threads=1, kv_cache_memory_mb=72, kv_cache_dir=str(folder))
    llm.generate([list(range(3, 200))], ASKED)
    return llm


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    """What an engine has left."""
    used(model, tmp_path / "kv").close()
    return tmp_path / "kv"


def test_it_lists_what_is_kept(model: Path, folder: Path, tmp_path: Path) -> None:
    options = ("--kv-cache-dir", str(folder))
    (world,) = json.loads(cierzo("cache", "show", "--json", *options, cwd=tmp_path).stdout)
    assert world["model"] == model.name
    assert world["tokens"] == 197 + 3
    assert world["in_use"] is False
    assert world["bytes"] > 0
    shown = cierzo("cache", "show", *options, cwd=tmp_path).stdout.splitlines()
    assert len(shown) == 2
    assert world["world"][:12] in shown[1]
    empty = cierzo("cache", "show", "--json", "--kv-cache-dir", "none", cwd=tmp_path)
    assert json.loads(empty.stdout) == []


@pytest.mark.parametrize("name", ["blocks", "headers"])
def test_it_finds_what_is_damaged(folder: Path, tmp_path: Path, name: str) -> None:
    options = ("--kv-cache-dir", str(folder))
    whole = cierzo("cache", "verify", *options, cwd=tmp_path)
    assert (whole.returncode, whole.stdout.split()[1:]) == (0, ["whole"])
    (world,) = folder.iterdir()
    data = bytearray((world / name).read_bytes())
    data[100] ^= 1
    (world / name).write_bytes(data)
    found = cierzo("cache", "verify", *options, cwd=tmp_path)
    assert (found.returncode, found.stdout.split()[1:]) == (1, ["1", "damaged"])


def test_it_clears_what_nobody_uses(model: Path, folder: Path, tmp_path: Path) -> None:
    options = ("--kv-cache-dir", str(folder))
    with used(model, folder):
        for command in ("clear", "verify"):
            refused = cierzo("cache", command, *options, cwd=tmp_path)
            assert refused.returncode == 1
            assert "in use by another process" in refused.stderr
        shown = json.loads(cierzo("cache", "show", "--json", *options, cwd=tmp_path).stdout)
        assert [world["in_use"] for world in shown] == [True]
    assert cierzo("cache", "clear", *options, cwd=tmp_path).returncode == 0
    assert list(folder.iterdir()) == []
