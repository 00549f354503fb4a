"""Every layout opens as the same thing, and what is wrong with one is said before it is used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cierzo.backends.tensor import StorageType
from cierzo.model.errors import ModelError
from cierzo.model.readers.checkpoint import Checkpoint, open_checkpoint
from tests.support.checkpoints import (
    TinyModel,
    Weights,
    interleave_heads,
    random_weights,
    tekken_model,
    write_gguf,
    write_hf,
    write_mistral,
)
from tests.support.quantise import quantise

MODEL = tekken_model()


def in_hf_order(checkpoint: Checkpoint, weights: Weights) -> Weights:
    """Weights as the checkpoint's rotary order wants q and k."""
    heads = {
        "q_proj": checkpoint.config.num_attention_heads,
        "k_proj": checkpoint.config.num_key_value_heads,
    }
    if not checkpoint.config.rope_interleaved:
        return weights
    return {
        name: interleave_heads(weight, heads[part])
        if (part := name.split(".")[-2]) in heads
        else weight
        for name, weight in weights.items()
    }


@pytest.mark.parametrize("dtype", [StorageType.F32, StorageType.F16, StorageType.BF16])
@pytest.mark.parametrize("layout", ["hf", "sharded", "mistral3", "mistral3-new", "mistral", "gguf"])
def test_each_float_layout_gives_the_bytes_that_were_written(
    tmp_path: Path, layout: str, dtype: StorageType
) -> None:
    weights = random_weights(MODEL, seed=3)
    write: dict[str, Callable[[], Path]] = {
        "hf": lambda: write_hf(tmp_path, MODEL, seed=3, dtype=dtype, tokenizer="tekken"),
        "sharded": lambda: write_hf(tmp_path, MODEL, seed=3, dtype=dtype, shards=3),
        "mistral3": lambda: write_hf(tmp_path, MODEL, seed=3, dtype=dtype, layout="mistral3"),
        "mistral3-new": lambda: write_hf(
            tmp_path, MODEL, seed=3, dtype=dtype, layout="mistral3-new", shards=2
        ),
        "mistral": lambda: write_mistral(tmp_path, MODEL, seed=3, dtype=dtype),
        "gguf": lambda: write_gguf(tmp_path / "m.gguf", MODEL, dtype, seed=3, tokenizer="tekken"),
    }
    checkpoint = open_checkpoint(write[layout]())
    wanted = in_hf_order(checkpoint, weights)
    assert checkpoint.tensors.keys() == wanted.keys()
    for name, tensor in checkpoint.tensors.items():
        norm_in_gguf = layout == "gguf" and wanted[name].ndim == 1
        assert tensor.storage == (StorageType.F32 if norm_in_gguf else dtype)
        assert tensor.shape == wanted[name].shape
        assert tensor.data.tobytes() == quantise(wanted[name], tensor.storage).tobytes()
    assert checkpoint.weights_bytes == sum(t.data.size for t in checkpoint.tensors.values())


@pytest.mark.parametrize("storage", list(StorageType))
def test_gguf_blocks_come_byte_for_byte(tmp_path: Path, storage: StorageType) -> None:
    checkpoint = open_checkpoint(write_gguf(tmp_path / "m.gguf", None, storage))
    weights = in_hf_order(checkpoint, random_weights(TinyModel()))
    for name, tensor in checkpoint.tensors.items():
        kind = StorageType.F32 if len(tensor.shape) == 1 else storage
        assert tensor.storage == kind
        assert tensor.data.tobytes() == quantise(weights[name], kind).tobytes()


def test_config_is_the_same_from_every_layout(tmp_path: Path) -> None:
    hf = open_checkpoint(write_hf(tmp_path / "hf", MODEL, tokenizer="tekken"))
    wrapped = open_checkpoint(
        write_hf(tmp_path / "wrapped", MODEL, tokenizer="tekken", layout="mistral3")
    )
    mistral = open_checkpoint(write_mistral(tmp_path / "mistral", MODEL))
    gguf = open_checkpoint(write_gguf(tmp_path / "m.gguf", MODEL, tokenizer="tekken"))
    assert hf.config == wrapped.config
    names = [
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "intermediate_size",
        "vocab_size",
        "rope_theta",
        "max_position_embeddings",
        "tie_word_embeddings",
    ]
    for other in (mistral, gguf):
        assert [getattr(other.config, n) for n in names] == [getattr(hf.config, n) for n in names]
        assert other.config.rms_norm_eps == pytest.approx(hf.config.rms_norm_eps, rel=1e-6)
    assert (hf.config.rope_interleaved, mistral.config.rope_interleaved) == (False, True)
    assert gguf.config.rope_interleaved
    assert (hf.format, mistral.format, gguf.format) == ("safetensors", "mistral", "gguf")
    for checkpoint in (hf, mistral):
        assert checkpoint.tokenizer.kind == "tekken"
        assert checkpoint.tokenizer.eos_token_ids == (2,)
        assert checkpoint.tokenizer.bos_token_id == 1
        assert checkpoint.tokenizer.add_bos


def test_a_missing_head_means_tied_embeddings(tmp_path: Path) -> None:
    model = TinyModel(tie_word_embeddings=True)
    for path in (
        write_hf(tmp_path / "hf", model),
        write_gguf(tmp_path / "m.gguf", model),
        write_mistral(tmp_path / "mistral", tekken_model(tie_word_embeddings=True)),
    ):
        checkpoint = open_checkpoint(path)
        assert checkpoint.config.tie_word_embeddings
        assert "lm_head.weight" not in checkpoint.tensors


def test_head_dim_falls_back_to_hidden_over_heads(tmp_path: Path) -> None:
    model = TinyModel(num_attention_heads=4, head_dim=64)
    folder = write_hf(tmp_path, model)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"head_dim": 64,', ""))
    assert open_checkpoint(folder).config.head_dim == 64


def test_a_folder_with_both_layouts_is_read_as_hugging_face(tmp_path: Path) -> None:
    write_mistral(tmp_path, MODEL)
    assert open_checkpoint(tmp_path).format == "mistral"
    write_hf(tmp_path, MODEL, tokenizer="tekken", shards=2)
    assert open_checkpoint(tmp_path).format == "safetensors"


def test_a_folder_with_config_and_consolidated_weights_is_read_as_mistral(tmp_path: Path) -> None:
    write_hf(tmp_path, MODEL, tokenizer="tekken")
    (tmp_path / "model.safetensors").unlink()
    write_mistral(tmp_path, MODEL)
    assert open_checkpoint(tmp_path).format == "mistral"


def test_a_folder_with_one_gguf_opens_it(tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf")
    assert open_checkpoint(tmp_path).format == "gguf"
    write_gguf(tmp_path / "b.gguf")
    with pytest.raises(ModelError, match=r"2 GGUF files; name one, such as a\.gguf"):
        open_checkpoint(tmp_path)


def test_another_tokenizer_may_be_given(tmp_path: Path) -> None:
    tekken = write_mistral(tmp_path / "main", MODEL) / "tekken.json"
    path = write_gguf(tmp_path / "m.gguf", MODEL, tokenizer="tekken")
    assert open_checkpoint(path).tokenizer.kind == "gguf"
    assert open_checkpoint(path, tekken).tokenizer.path == tekken
    shutil.copy(tekken, tmp_path)
    assert open_checkpoint(path).tokenizer.path == tmp_path / "tekken.json"


def test_a_tekken_file_beside_another_vocabulary_is_not_used(tmp_path: Path) -> None:
    write_mistral(tmp_path, MODEL)
    assert open_checkpoint(write_gguf(tmp_path / "m.gguf")).tokenizer.kind == "gguf"


def test_the_fingerprint_names_the_weights_not_the_place(tmp_path: Path) -> None:
    first = open_checkpoint(write_gguf(tmp_path / "a.gguf", seed=0)).fingerprint()
    again = open_checkpoint(write_gguf(tmp_path / "b.gguf", seed=0)).fingerprint()
    other = open_checkpoint(write_gguf(tmp_path / "c.gguf", seed=1)).fingerprint()
    kind = open_checkpoint(
        write_gguf(tmp_path / "d.gguf", None, StorageType.Q4_0, seed=0)
    ).fingerprint()
    assert first == again
    assert len({first, other, kind}) == 3


def resident(path: Path) -> int:
    """KiB of the file's mapping that are in memory, from the kernel."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            ours = line.endswith(str(path))
        elif ours and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


def test_a_released_tensor_leaves_memory_and_can_be_read_again(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", TinyModel(), StorageType.F32)
    checkpoint = open_checkpoint(path)
    before = {name: tensor.data.tobytes() for name, tensor in checkpoint.tensors.items()}
    full = resident(path)
    for tensor in checkpoint.tensors.values():
        checkpoint.release(tensor)
    left = resident(path)
    assert left < full / 4
    for name, tensor in checkpoint.tensors.items():
        assert tensor.data.tobytes() == before[name]


def test_tensors_cannot_be_written(tmp_path: Path) -> None:
    tensor = next(iter(open_checkpoint(write_gguf(tmp_path / "m.gguf")).tensors.values()))
    with pytest.raises(ValueError, match="read-only"):
        tensor.data[0] = 1


def without(weights: Weights, name: str) -> Weights:
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize("write", [write_hf, write_gguf])
def test_a_missing_tensor_is_named(tmp_path: Path, write: Callable[..., Path]) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    path = write(tmp_path / "m.gguf", weights=without(random_weights(TinyModel()), name))
    with pytest.raises(ModelError, match=r"lack model.layers.1.mlp.up_proj.weight"):
        open_checkpoint(path)


@pytest.mark.parametrize("write", [write_hf, write_gguf])
def test_a_misshapen_tensor_is_named(tmp_path: Path, write: Callable[..., Path]) -> None:
    weights = random_weights(TinyModel())
    weights["model.layers.0.self_attn.v_proj.weight"] = np.zeros((64, 256), np.float32)
    path = write(tmp_path / "m.gguf", weights=weights)
    with pytest.raises(ModelError, match=r"v_proj.weight has the shape \[64, 256\].*\[128, 256\]"):
        open_checkpoint(path)


@pytest.mark.parametrize("write", [write_hf, write_gguf])
def test_a_tensor_that_would_be_ignored_is_refused(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    weights = random_weights(TinyModel())
    weights["model.layers.0.self_attn.v_proj.bias"] = np.zeros(128, np.float32)
    path = write(tmp_path / "m.gguf", weights=weights)
    with pytest.raises(ModelError, match=r"v_proj\.bias is not part of a llama model"):
        open_checkpoint(path)


def test_stored_rotary_frequencies_are_passed_over(tmp_path: Path) -> None:
    weights = random_weights(TinyModel())
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(32, np.float32)
    checkpoint = open_checkpoint(write_hf(tmp_path, weights=weights))
    assert not [name for name in checkpoint.tensors if "inv_freq" in name]


def test_pickles_are_refused(tmp_path: Path) -> None:
    write_hf(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickled weights.*use the model's safetensors or GGUF"):
        open_checkpoint(tmp_path)


def test_an_empty_folder_and_a_wrong_path_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model here; expected"):
        open_checkpoint(tmp_path)
    with pytest.raises(ModelError, match="no such file or folder"):
        open_checkpoint(tmp_path / "none")


def test_errors_are_one_line_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError) as caught:
        open_checkpoint(tmp_path / "m.gguf")
    assert str(caught.value).startswith(f"{tmp_path / 'm.gguf'}: ")
    assert "\n" not in str(caught.value)
