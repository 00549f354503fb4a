"""The shape of a transformer, with the field names of Hugging Face's config.json."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from cierzo.model.errors import ModelError
from cierzo.model.rope_scaling import RopeScaling

Architecture: TypeAlias = Literal["llama", "mistral"]

# The largest sizes taken for real. Each is several times those of any published model of the
# family, and keeps a damaged header from asking for absurd amounts of memory.
_MAXIMUM = {
    "hidden_size": 1 << 16,
    "num_hidden_layers": 1 << 10,
    "num_attention_heads": 1 << 10,
    "num_key_value_heads": 1 << 10,
    "head_dim": 1 << 10,
    "intermediate_size": 1 << 19,
    "vocab_size": 1 << 21,
    "max_position_embeddings": 1 << 26,
}


@dataclass(frozen=True)
class ModelConfig:
    """A decoder of the Llama and Mistral family."""

    architecture: Architecture
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
    rope_scaling: RopeScaling | None = None  # None: plain rotary positions

    def check(self, file: Path) -> None:
        """Raises ModelError when the sizes, read from `file`, cannot be those of a model."""
        for name, maximum in _MAXIMUM.items():
            value = getattr(self, name)
            if not 1 <= value <= maximum:
                raise ModelError(
                    f"{file}: {name} is {value}, not between 1 and {maximum}; the file is damaged"
                )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ModelError(
                f"{file}: {self.num_attention_heads} attention heads cannot share "
                f"{self.num_key_value_heads} key-value heads evenly; the file is damaged"
            )
        if self.head_dim % 2:
            raise ModelError(f"{file}: head_dim is {self.head_dim}; rotary positions need it even")
        if not 0 < self.rms_norm_eps < 1:
            raise ModelError(f"{file}: rms_norm_eps is {self.rms_norm_eps}, not between 0 and 1")
        if not (self.rope_theta > 1 and math.isfinite(self.rope_theta)):
            raise ModelError(f"{file}: rope_theta is {self.rope_theta}, not a number above 1")
