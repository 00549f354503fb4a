"""Symbolic links in the place of a model's files: followed where they lead to one, told if not."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.model.errors import ModelError
from cierzo.model.fetch.registry import resolve
from cierzo.model.readers.checkpoint import open_checkpoint
from tests.support.checkpoints import write_gguf, write_hf, write_mistral

LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "hf": lambda folder: write_hf(folder, shards=2),
    "mistral": write_mistral,
    "gguf": lambda folder: write_gguf(folder / "m.gguf"),
}


def as_in_the_hub_s_cache(path: Path, cache: Path) -> Path:
    """The same files as the hub's client keeps them: by name, links to blobs named by a hash."""
    blobs, snapshot = cache / "blobs", cache / "snapshots" / "0123abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    folder = path if path.is_dir() else path.parent
    for i, file in enumerate(sorted(folder.iterdir())):
        file.rename(blobs / f"{i:040x}")
        (snapshot / file.name).symlink_to(Path("../../blobs") / f"{i:040x}")
    return snapshot if path.is_dir() else snapshot / path.name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_hub_s_cache_is_made_of_links(tmp_path: Path, layout: str) -> None:
    path = LAYOUTS[layout](tmp_path / "model")
    wanted = open_checkpoint(path).fingerprint()
    linked = as_in_the_hub_s_cache(path, tmp_path / "cache")
    assert resolve(str(linked)).path == linked
    checkpoint = open_checkpoint(linked)
    assert checkpoint.fingerprint() == wanted
    assert load_tokenizer(checkpoint.tokenizer).vocab_size > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_link_to_the_whole_of_it(tmp_path: Path, layout: str) -> None:
    path = LAYOUTS[layout](tmp_path / "model")
    link = tmp_path / f"link{path.suffix}"
    link.symlink_to(path)
    again = tmp_path / f"again{path.suffix}"
    again.symlink_to(link)
    assert open_checkpoint(resolve(str(again)).path).fingerprint() == (
        open_checkpoint(path).fingerprint()
    )


def nowhere(file: Path) -> None:
    file.symlink_to(file.with_name("gone"))


def to_itself(file: Path) -> None:
    file.symlink_to(file)


def round_and_round(file: Path) -> None:
    other = file.with_name("other")
    other.symlink_to(file)
    file.symlink_to(other)


@pytest.mark.parametrize("link", [nowhere, to_itself, round_and_round])
@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("hf", "config.json"),
        ("hf", "generation_config.json"),
        ("hf", "tokenizer.json"),
        ("hf", "tokenizer_config.json"),
        ("hf", "model.safetensors.index.json"),
        ("hf", "model-00002-of-00002.safetensors"),
        ("mistral", "params.json"),
        ("mistral", "tekken.json"),
        ("mistral", "consolidated.safetensors"),
        ("gguf", "m.gguf"),
    ],
)
def test_a_link_that_leads_nowhere(
    tmp_path: Path, layout: str, name: str, link: Callable[[Path], None]
) -> None:
    """Not the same as no file: without generation_config.json, say, the ends would be others."""
    LAYOUTS[layout](tmp_path)
    (tmp_path / name).unlink()
    link(tmp_path / name)
    with pytest.raises(ModelError) as caught:
        open_checkpoint(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / name}: a link that leads nowhere; fetch the model again"
    )


@pytest.mark.parametrize("link", [nowhere, to_itself, round_and_round])
def test_a_model_that_is_a_link_that_leads_nowhere(
    tmp_path: Path, link: Callable[[Path], None]
) -> None:
    link(tmp_path / "m.gguf")
    for use in (
        lambda: open_checkpoint(tmp_path / "m.gguf"),
        lambda: resolve(f"{tmp_path}/m.gguf"),
    ):
        with pytest.raises(ModelError, match=r"m\.gguf: no such file or folder; check the path"):
            use()


def test_links_that_nobody_reads_may_lead_anywhere(tmp_path: Path) -> None:
    write_hf(tmp_path)
    for name in ("README.md", "pytorch_model.bin.index.json", "onnx", ".gitattributes"):
        nowhere(tmp_path / name)
    (tmp_path / "parent").symlink_to(tmp_path)
    assert open_checkpoint(tmp_path).format == "safetensors"


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_what_is_no_file_is_not_read(tmp_path: Path, name: str) -> None:
    """Reading a pipe or a device would never end."""
    for make in (os.mkfifo, Path.mkdir, lambda file: file.symlink_to("/dev/zero")):
        folder = write_hf(tmp_path / f"{make}".replace("/", ""))
        (folder / name).unlink()
        make(folder / name)
        with pytest.raises(ModelError) as caught:
            open_checkpoint(folder)
        assert str(caught.value).startswith(f"{folder}")


def test_an_index_with_a_name_that_no_file_has(tmp_path: Path) -> None:
    index = write_hf(tmp_path, shards=2) / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("model-00001", "m" * 5_000))
    with pytest.raises(ModelError, match="not a file beside it"):
        open_checkpoint(tmp_path)
