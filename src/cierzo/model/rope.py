"""Rotary frequencies of a model, with the ways of stretching them to longer contexts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import numpy as np
import numpy.typing as npt

from cierzo.model.config import ModelConfig

Frequencies = npt.NDArray[np.float64]


def rotary_frequencies(config: ModelConfig) -> tuple[Frequencies, float]:
    """inv_freq [head_dim / 2] in radians a position, and the factor on cosines and sines.

    Plain: theta^(-2i/d) (Su et al., "RoFormer", arXiv 2104.09864).
    """
    d = config.head_dim
    plain = config.rope_theta ** (-np.arange(0, d, 2, dtype=np.float64) / d)
    scaling = config.rope_scaling
    if scaling is None:
        return plain, 1.0
    kind = scaling["rope_type"]
    if kind == "linear":  # positions divided (Chen et al., arXiv 2306.15595)
        return plain / _number(scaling, "factor"), 1.0
    if kind == "factors":
        return plain / np.array(scaling["factors"], dtype=np.float64), 1.0
    if kind == "llama3":
        return _llama3(plain, scaling), 1.0
    if kind == "yarn":
        return _yarn(plain, config.rope_theta, scaling), _yarn_attention_factor(scaling)
    raise ValueError(f"rope scaling of type {kind!r} is not known")


def _number(scaling: Mapping[str, object], key: str, default: float | None = None) -> float:
    return float(cast(float, scaling[key] if default is None else scaling.get(key, default)))


def _llama3(plain: Frequencies, scaling: Mapping[str, object]) -> Frequencies:
    """Slow waves are stretched, fast ones kept, those between blended (Llama 3.1's reference code).

    The measure is how many turns a wave makes in the original context.
    """
    factor = _number(scaling, "factor")
    low, high = _number(scaling, "low_freq_factor"), _number(scaling, "high_freq_factor")
    turns = _number(scaling, "original_max_position_embeddings") * plain / (2 * math.pi)
    keep = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - keep) * plain / factor + keep * plain


def _yarn(plain: Frequencies, theta: float, scaling: Mapping[str, object]) -> Frequencies:
    """A ramp from kept (fast) to stretched (slow) waves (YaRN, arXiv 2309.00071, section 3.2).

    The ramp's ends are the dimensions that turn beta_fast and beta_slow times in the original
    context, rounded outwards as in the authors' code.
    """
    pairs = plain.size
    original = _number(scaling, "original_max_position_embeddings")

    def dimension(turns: float) -> float:
        return pairs * math.log(original / (turns * 2 * math.pi)) / math.log(theta)

    first = max(math.floor(dimension(_number(scaling, "beta_fast", 32.0))), 0)
    last = min(math.ceil(dimension(_number(scaling, "beta_slow", 1.0))), 2 * pairs - 1)
    width = last - first if last != first else 0.001
    stretched = np.clip((np.arange(pairs) - first) / width, 0, 1)
    return stretched * plain / _number(scaling, "factor") + (1 - stretched) * plain


def _yarn_attention_factor(scaling: Mapping[str, object]) -> float:
    """The temperature of YaRN's section 3.4, applied to q and k through cosine and sine."""
    if "attention_factor" in scaling:
        return _number(scaling, "attention_factor")
    factor = _number(scaling, "factor")

    def temperature(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

    if "mscale" in scaling and "mscale_all_dim" in scaling:
        return temperature(_number(scaling, "mscale")) / temperature(
            _number(scaling, "mscale_all_dim")
        )
    return temperature(1.0)
