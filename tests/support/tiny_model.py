"""Sizes and random weights of a small model, by Hugging Face's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cierzo.model.rope_scaling import LinearScaling, Llama3Scaling, RopeScaling, YarnScaling
from tests.support import tokenizers

Weights = dict[str, npt.NDArray[np.float32]]
TokenizerKind = Literal["bpe", "tekken"]

BPE_VOCAB = 512
TEKKEN_VOCAB = tokenizers.TEKKEN_BYTE_TOKENS + tokenizers.TEKKEN_SPECIAL_COUNT


@dataclass(frozen=True)
class TinyModel:
    """Sizes of a small model. Rows hold whole k-quant blocks; heads * head_dim != hidden."""

    architecture: Literal["llama", "mistral"] = "llama"
    hidden_size: int = 256
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    num_key_value_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 512
    vocab_size: int = BPE_VOCAB
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    max_position_embeddings: int = 1_024
    tie_word_embeddings: bool = False
    rope_scaling: Mapping[str, Any] | None = None  # Hugging Face's form: "llama3" or "yarn"


def tekken_model(**sizes: Any) -> TinyModel:
    """A TinyModel of the Mistral family whose vocabulary is the cut Tekken."""
    return replace(TinyModel(architecture="mistral", vocab_size=TEKKEN_VOCAB), **sizes)


def rope_scaling(form: Mapping[str, Any] | None) -> RopeScaling | None:
    """What the readers should make of Hugging Face's form."""
    if form is None:
        return None
    kinds = {"linear": LinearScaling, "llama3": Llama3Scaling, "yarn": YarnScaling}
    return kinds[form["rope_type"]](**{k: v for k, v in form.items() if k != "rope_type"})


def random_weights(model: TinyModel, seed: int = 0) -> Weights:
    """Weights [out, in] by Hugging Face name, exact in every float type."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, cols: int) -> npt.NDArray[np.float32]:
        steps = np.rint(rng.standard_normal((rows, cols), dtype=np.float32) * 512 / cols**0.5)
        values: npt.NDArray[np.float32] = np.clip(steps, -127, 127) / np.float32(512)
        return values

    def norm() -> npt.NDArray[np.float32]:
        steps = rng.integers(-32, 33, model.hidden_size)
        return (1 + steps / 64).astype(np.float32)

    heads = model.num_attention_heads * model.head_dim
    kv_heads = model.num_key_value_heads * model.head_dim
    hidden, inner = model.hidden_size, model.intermediate_size
    weights: Weights = {"model.embed_tokens.weight": matrix(model.vocab_size, hidden)}
    for i in range(model.num_hidden_layers):
        weights |= {
            f"model.layers.{i}.input_layernorm.weight": norm(),
            f"model.layers.{i}.self_attn.q_proj.weight": matrix(heads, hidden),
            f"model.layers.{i}.self_attn.k_proj.weight": matrix(kv_heads, hidden),
            f"model.layers.{i}.self_attn.v_proj.weight": matrix(kv_heads, hidden),
            f"model.layers.{i}.self_attn.o_proj.weight": matrix(hidden, heads),
            f"model.layers.{i}.post_attention_layernorm.weight": norm(),
            f"model.layers.{i}.mlp.gate_proj.weight": matrix(inner, hidden),
            f"model.layers.{i}.mlp.up_proj.weight": matrix(inner, hidden),
            f"model.layers.{i}.mlp.down_proj.weight": matrix(hidden, inner),
        }
    weights["model.norm.weight"] = norm()
    if not model.tie_word_embeddings:
        weights["lm_head.weight"] = matrix(model.vocab_size, hidden)
    return weights


def interleave_heads(weight: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Rows of q or k from Hugging Face's rotary order (i, i + d/2) to pairs (2i, 2i + 1)."""
    rows, cols = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


LAYER_NAMES = (  # Hugging Face, GGUF, Mistral
    ("input_layernorm", "attn_norm", "attention_norm"),
    ("self_attn.q_proj", "attn_q", "attention.wq"),
    ("self_attn.k_proj", "attn_k", "attention.wk"),
    ("self_attn.v_proj", "attn_v", "attention.wv"),
    ("self_attn.o_proj", "attn_output", "attention.wo"),
    ("post_attention_layernorm", "ffn_norm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate", "feed_forward.w1"),
    ("mlp.up_proj", "ffn_up", "feed_forward.w3"),
    ("mlp.down_proj", "ffn_down", "feed_forward.w2"),
)


def renames(weights: Weights, table: Mapping[str, str]) -> dict[str, str]:
    """Hugging Face's name of each weight to the other layout's."""
    named = {}
    for hf_name in weights:
        name = hf_name
        for old, new in table.items():
            name = name.replace(old, new, 1)
        named[hf_name] = name
    return named


def interleaved(weights: Weights, model: TinyModel) -> Weights:
    heads = {".q_proj.": model.num_attention_heads, ".k_proj.": model.num_key_value_heads}
    return {
        name: next(
            (interleave_heads(weight, n) for part, n in heads.items() if part in name), weight
        )
        for name, weight in weights.items()
    }
