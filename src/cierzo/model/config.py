"""The shape of a transformer, with the field names of Hugging Face's config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelConfig:
    """A decoder of the Llama and Mistral family."""

    architecture: str  # "llama" or "mistral"
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    rms_norm_eps: float
    rope_theta: float
    max_position_embeddings: int
    tie_word_embeddings: bool
    rope_interleaved: bool  # see AttentionShape
    rope_scaling: Mapping[str, object] | None = None  # HF's rope_scaling / rope_parameters
