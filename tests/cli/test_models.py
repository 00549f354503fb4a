"""`cierzo models` and `cierzo pull`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.run import cierzo
from tests.support.checkpoints import TinyModel, write_hf
from tests.support.hub_server import Hub, serve_hub


def test_the_default_model_is_listed_with_its_size(default_model: Path, tmp_path: Path) -> None:
    rows = json.loads(cierzo("models", "--json", cwd=tmp_path).stdout)
    first = rows[0]
    assert first["name"] == "smollm2-135m"
    assert first["bytes_on_disk"] == default_model.stat().st_size
    assert first["context"] == 8192
    devstral = next(row for row in rows if row["name"] == "devstral-small")
    assert "devstral-small:q4_k_m" in devstral["variants"]


def test_nothing_is_on_disk_where_nothing_was_fetched(tmp_path: Path) -> None:
    empty = {"CIERZO_CACHE": str(tmp_path / "c"), "HF_HOME": str(tmp_path / "h")}
    done = cierzo("models", cwd=tmp_path, **empty)
    assert done.returncode == 0
    assert " GB" not in done.stdout
    assert "smollm2-135m" in done.stdout


def test_pulling_what_is_here_prints_where(default_model: Path, tmp_path: Path) -> None:
    done = cierzo("pull", "smollm2-135m", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout == f"{default_model}\n"
    assert done.stderr == ""


def test_pulling_a_path_prints_it(model: Path, tmp_path: Path) -> None:
    assert cierzo("pull", str(model), cwd=tmp_path).stdout == f"{model}\n"


def test_pulling_from_a_hub_shows_progress_and_lists_it_after(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    write_hf(folder, TinyModel())
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    with serve_hub(Hub(repos={"someone/tiny": files})) as hub:
        variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}
        done = cierzo("pull", "someone/tiny", cwd=tmp_path, **variables)
        assert done.returncode == 0, done.stderr
        assert (Path(done.stdout.strip()) / "model.safetensors").exists()
        assert "fetching someone/tiny" in done.stderr
        assert "fetched someone/tiny" in done.stderr
        rows = json.loads(cierzo("models", "--json", cwd=tmp_path, **variables).stdout)
    assert rows[-1]["name"] == "someone/tiny"
    assert rows[-1]["bytes_on_disk"] > 0
