"""The ways in which a model's rotary positions are stretched to a longer context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class LinearScaling:
    """Every frequency is divided by `factor`."""

    factor: float


@dataclass(frozen=True)
class FrequencyFactors:
    """Each of the head_dim / 2 frequencies is divided by its own factor.

    GGUF's rope_freqs.weight, where Llama 3's scaling was computed beforehand.
    """

    factors: tuple[float, ...]


@dataclass(frozen=True)
class Llama3Scaling:
    """Slow waves are stretched, fast ones kept. Fields as in Hugging Face's config.json."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: float


@dataclass(frozen=True)
class YarnScaling:
    """YaRN (arXiv 2309.00071). Fields as in Hugging Face's config.json."""

    factor: float
    original_max_position_embeddings: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None


RopeScaling: TypeAlias = LinearScaling | FrequencyFactors | Llama3Scaling | YarnScaling
