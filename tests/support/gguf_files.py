"""Writes a small model as a GGUF file, in any storage type, with its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from cierzo.backends.tensor import StorageType
from tests.support import tokenizers
from tests.support.quantise import GGML_TYPES, quantise
from tests.support.tiny_model import (
    LAYER_NAMES,
    TinyModel,
    TokenizerKind,
    Weights,
    interleaved,
    random_weights,
    renames,
    tekken_model,
)

_GGUF_NAMES = {
    "model.embed_tokens.": "token_embd.",
    "model.norm.": "output_norm.",
    "lm_head.": "output.",
    "model.layers.": "blk.",
} | {f".{hf}.": f".{name}." for hf, name, _ in LAYER_NAMES}


def write_gguf(
    path: Path,
    model: TinyModel | None = None,
    storage: StorageType = StorageType.Q8_0,
    *,
    weights: Weights | None = None,
    seed: int = 0,
    tokenizer: TokenizerKind = "bpe",
    arch: str = "llama",
    types: Mapping[str, StorageType] | None = None,
) -> Path:
    """A GGUF with matrices as `storage` (`types`: others by Hugging Face name), norms as F32."""
    model = model or (tekken_model() if tokenizer == "tekken" else TinyModel())
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name("tiny")
    writer.add_block_count(model.num_hidden_layers)
    writer.add_context_length(model.max_position_embeddings)
    writer.add_embedding_length(model.hidden_size)
    writer.add_feed_forward_length(model.intermediate_size)
    writer.add_head_count(model.num_attention_heads)
    writer.add_head_count_kv(model.num_key_value_heads)
    writer.add_key_length(model.head_dim)
    writer.add_value_length(model.head_dim)
    writer.add_layer_norm_rms_eps(model.rms_norm_eps)
    writer.add_rope_freq_base(model.rope_theta)
    writer.add_rope_dimension_count(model.head_dim)
    writer.add_vocab_size(model.vocab_size)
    _add_gguf_rope(writer, model)
    _add_gguf_tokenizer(writer, tokenizer)
    ordered = interleaved(weights or random_weights(model, seed), model)
    for hf_name, name in renames(ordered, _GGUF_NAMES).items():
        weight = ordered[hf_name]
        kind = StorageType.F32 if weight.ndim == 1 else (types or {}).get(hf_name, storage)
        writer.add_tensor(name, quantise(weight, kind), raw_dtype=GGML_TYPES[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_gguf_rope(writer: gguf.GGUFWriter, model: TinyModel) -> None:
    scaling = model.rope_scaling
    if scaling is None:
        return
    if scaling["rope_type"] == "llama3":
        factors = llama3_factors(model.head_dim, model.rope_theta, scaling)
        writer.add_tensor("rope_freqs.weight", factors)
    elif scaling["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    else:
        raise ValueError(scaling)


def llama3_factors(
    head_dim: int, theta: float, scaling: Mapping[str, Any]
) -> npt.NDArray[np.float32]:
    """Llama 3's divisors of the rotary frequencies, as llama.cpp's converter computes them."""
    wavelength = 2 * np.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    factor, low, high = (scaling[k] for k in ("factor", "low_freq_factor", "high_freq_factor"))
    ratio = scaling["original_max_position_embeddings"] / wavelength
    smooth = (ratio - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.where(ratio < low, factor, np.where(ratio > high, 1, between)).astype(np.float32)


def _add_gguf_tokenizer(writer: gguf.GGUFWriter, kind: TokenizerKind) -> None:
    if kind == "tekken":
        tokens, merges = tokenizers.tekken_vocabulary()
        special = tokenizers.TEKKEN_SPECIAL_COUNT
        template = None
    else:
        tokens, merges = tokenizers.bpe_vocabulary()
        special = len(tokenizers.BPE_SPECIAL_TOKENS)
        template = tokenizers.CHATML_TEMPLATE
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("tekken" if kind == "tekken" else "smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([control if i < special else normal for i in range(len(tokens))])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(kind == "tekken")
    if template is not None:
        writer.add_chat_template(template)
