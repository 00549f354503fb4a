"""Mistral's own layout: params.json, consolidated weights, tekken.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cierzo.backends.tensor import StorageType
from cierzo.model.errors import ModelError
from cierzo.model.readers.checkpoint import open_checkpoint
from tests.support.checkpoints import tekken_model, write_hf, write_mistral, write_safetensors
from tests.support.tokenizers import TEKKEN_BYTE_TOKENS


def edit(file: Path, **changes: object) -> None:
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def test_the_mapped_weights_are_those_of_the_hugging_face_layout(tmp_path: Path) -> None:
    """The same but for the order of q's and k's rows, which turn by other pairs."""
    hf = open_checkpoint(write_hf(tmp_path / "hf", tekken_model(), tokenizer="tekken"))
    mistral = open_checkpoint(write_mistral(tmp_path / "mistral"))
    assert mistral.tensors.keys() == hf.tensors.keys()
    for name, tensor in mistral.tensors.items():
        ours, theirs = tensor.data.view(np.uint16), hf.tensors[name].data.view(np.uint16)
        if "q_proj" in name or "k_proj" in name:
            pairs = ours.reshape(-1, 32, 2, 256)
            halves = theirs.reshape(-1, 2, 32, 256)
            np.testing.assert_array_equal(pairs[:, :, 0], halves[:, 0])
            np.testing.assert_array_equal(pairs[:, :, 1], halves[:, 1])
        else:
            np.testing.assert_array_equal(ours, theirs)


def test_several_consolidated_files_with_and_without_an_index(tmp_path: Path) -> None:
    folder = write_mistral(tmp_path)
    whole = open_checkpoint(folder)
    (folder / "consolidated.safetensors").unlink()
    stored = {name: np.zeros(tensor.shape, np.float32) for name, tensor in whole.tensors.items()}
    renamed = {name.replace("model.norm", "norm"): value for name, value in stored.items()}
    names = sorted(renamed)
    weight_map: dict[str, str] = {}
    for i, part in enumerate((names[::2], names[1::2])):
        file = f"consolidated-0000{i + 1}-of-00002.safetensors"
        write_safetensors(folder / file, {n: renamed[n] for n in part}, StorageType.BF16)
        weight_map |= dict.fromkeys(part, file)
    assert open_checkpoint(folder).tensors.keys() == whole.tensors.keys()
    index = folder / "consolidated.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert open_checkpoint(folder).tensors.keys() == whole.tensors.keys()
    (folder / "consolidated-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"consolidated-00002-of-00002\.safetensors: missing"):
        open_checkpoint(folder)


def test_tensors_of_a_vision_encoder_are_passed_over(tmp_path: Path) -> None:
    weights = {
        "vision_encoder.patch_conv.weight": np.ones((4, 4), np.float32),
        "patch_merger.merging_layer.weight": np.ones((4, 4), np.float32),
    }
    folder = write_mistral(tmp_path)
    write_safetensors(folder / "consolidated-vision.safetensors", weights, StorageType.BF16)
    assert len(open_checkpoint(folder).tensors) == 2 * 9 + 3


@pytest.mark.parametrize("key", ["max_position_embeddings", "max_seq_len", "model_max_length"])
def test_the_context_goes_by_several_names(tmp_path: Path, key: str) -> None:
    folder = write_mistral(tmp_path)
    edit(folder / "params.json", **({"max_position_embeddings": None} | {key: 4096}))
    assert open_checkpoint(folder).config.max_position_embeddings == 4096


def test_the_context_may_stand_in_config_json(tmp_path: Path) -> None:
    folder = write_mistral(tmp_path)
    edit(folder / "params.json", max_position_embeddings=None)
    assert open_checkpoint(folder).config.max_position_embeddings == 32_768
    (folder / "config.json").write_text('{"text_config": {"max_position_embeddings": 131072}}')
    assert open_checkpoint(folder).config.max_position_embeddings == 131_072


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "moe": ({"moe": {"num_experts": 8}}, "moe is not supported in this layout"),
    "quantised": ({"quantization": {"qformat_weight": "fp8_e4m3"}}, "quantization is not"),
    "yarn": ({"yarn": {"factor": 16}}, "yarn is not supported"),
    "window": ({"sliding_window": 128}, "sliding_window is 128"),
    "missing": ({"n_heads": None}, "n_heads is missing"),
    "text": ({"dim": "many"}, "dim is 'many', not a whole number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_served_is_named(tmp_path: Path, case: str) -> None:
    changes, message = REFUSED[case]
    folder = write_mistral(tmp_path)
    edit(folder / "params.json", **changes)
    with pytest.raises(ModelError, match=message):
        open_checkpoint(folder)


def test_missing_files_are_named(tmp_path: Path) -> None:
    folder = write_mistral(tmp_path)
    (folder / "tekken.json").rename(folder / "other.json")
    with pytest.raises(ModelError, match=r"tekken\.json: missing; fetch it"):
        open_checkpoint(folder)
    (folder / "other.json").rename(folder / "tekken.json")
    (folder / "consolidated.safetensors").rename(folder / "other.safetensors")
    with pytest.raises(ModelError, match="no consolidated"):
        open_checkpoint(folder)


def test_the_builders_tekken_is_one_that_mistral_common_loads(tmp_path: Path) -> None:
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    tokenizer = Tekkenizer.from_file(write_mistral(tmp_path) / "tekken.json")
    assert tokenizer.n_words == tekken_model().vocab_size
    assert tokenizer.n_words - tokenizer.num_special_tokens == TEKKEN_BYTE_TOKENS
    assert tokenizer.decode(tokenizer.encode("El niño\n", bos=True, eos=False)) == "El niño\n"
