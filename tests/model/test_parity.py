"""The whole way from a file to logits, against transformers in float32, for every layout.

Weights go through the storage type first, so both sides have the same numbers. What remains is
the rounding of activations: none but float32's and the cache's with float weights, and that of
int8 groups with quantised ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

from cierzo import LLM
from cierzo.backends.tensor import StorageType
from tests.support.checkpoints import (
    TinyModel,
    hf_config,
    random_weights,
    tekken_model,
    write_gguf,
    write_hf,
    write_mistral,
)
from tests.support.quantise import stored

Floats = npt.NDArray[np.float32]
Weights = dict[str, npt.NDArray[np.float32]]

LLAMA = TinyModel()
MISTRAL = tekken_model()
TIED = TinyModel(tie_word_embeddings=True)
LLAMA3 = TinyModel(
    rope_scaling={
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
)
FLOATS = [StorageType.F32, StorageType.F16, StorageType.BF16]
TOKENS = np.random.default_rng(5).integers(3, 250, 150).tolist()  # over two attention blocks

HUGGING_FACE: dict[str, tuple[TinyModel, Callable[[Path, TinyModel], Path]]] = {
    "llama": (LLAMA, write_hf),
    "llama, sharded": (LLAMA, lambda path, model: write_hf(path, model, shards=3)),
    "llama, tied": (TIED, write_hf),
    "llama 3 rope": (LLAMA3, lambda path, model: write_hf(path, model, rope_parameters=True)),
    "mistral": (MISTRAL, lambda path, model: write_hf(path, model, tokenizer="tekken")),
    "mistral 3": (
        MISTRAL,
        lambda path, model: write_hf(path, model, tokenizer="tekken", layout="mistral3"),
    ),
    "mistral 3, newer names": (
        MISTRAL,
        lambda path, model: write_hf(path, model, tokenizer="tekken", layout="mistral3-new"),
    ),
    "mistral's own": (MISTRAL, write_mistral),
}


def transformers_logits(model: TinyModel, weights: Weights) -> Floats:
    """[len(TOKENS), vocab_size], by transformers in float32 with its plainest attention."""
    settings = {k: v for k, v in hf_config(model).items() if k not in ("architectures",)}
    config_class: Any = MistralConfig if model.architecture == "mistral" else LlamaConfig
    config = config_class(**settings, attn_implementation="eager")
    reference = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    state = {name: torch.from_numpy(values) for name, values in weights.items()}
    if model.tie_word_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    reference.load_state_dict(state)
    with torch.no_grad():
        logits: Floats = reference(torch.tensor([TOKENS])).logits[0].numpy()
    return logits


def our_logits(path: Path) -> Floats:
    with LLM(str(path), threads=1, max_model_len=256) as llm:
        return llm.logits(TOKENS)


def error(ours: Floats, theirs: Floats) -> float:
    """Root of the mean square, in units of the logits' own spread."""
    return float(np.sqrt(((ours - theirs) ** 2).mean()) / theirs.std())


def mean_divergence(ours: Floats, theirs: Floats) -> float:
    p, q = (torch.from_numpy(x).double().log_softmax(-1) for x in (theirs, ours))
    return float((p.exp() * (p - q)).sum(-1).mean())


@pytest.mark.parametrize("layout", HUGGING_FACE)
def test_safetensors_layouts(layout: str, tmp_path: Path) -> None:
    model, write = HUGGING_FACE[layout]
    theirs = transformers_logits(model, random_weights(model))
    assert error(our_logits(write(tmp_path / "model", model)), theirs) < 2e-3


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_safetensors_types(dtype: StorageType, tmp_path: Path) -> None:
    theirs = transformers_logits(LLAMA, random_weights(LLAMA))
    assert error(our_logits(write_hf(tmp_path / "model", LLAMA, dtype=dtype)), theirs) < 2e-3


@pytest.mark.parametrize("storage", StorageType, ids=str)
def test_gguf_types(storage: StorageType, tmp_path: Path) -> None:
    weights = random_weights(LLAMA)
    path = write_gguf(tmp_path / "tiny.gguf", LLAMA, storage, weights=weights)
    matrices = {k: stored(v, storage) if v.ndim == 2 else v for k, v in weights.items()}
    theirs = transformers_logits(LLAMA, matrices)
    ours = our_logits(path)
    assert error(ours, theirs) < (2e-3 if storage in FLOATS else 3e-2)
    assert mean_divergence(ours, theirs) < 1e-3


def test_gguf_with_scaled_rope(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", LLAMA3, StorageType.F32)
    theirs = transformers_logits(LLAMA3, random_weights(LLAMA3))
    assert error(our_logits(path), theirs) < 2e-3


def test_the_measure_sees_a_wrong_model(tmp_path: Path) -> None:
    """A model one seed away is far beyond the bounds above."""
    theirs = transformers_logits(LLAMA, random_weights(LLAMA, seed=1))
    assert error(our_logits(write_hf(tmp_path / "model", LLAMA)), theirs) > 0.5
