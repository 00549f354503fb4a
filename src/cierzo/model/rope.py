"""Rotary frequencies of a model, with the ways of stretching them to longer contexts."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cierzo.model.config import ModelConfig
from cierzo.model.rope_scaling import FrequencyFactors, LinearScaling, Llama3Scaling, YarnScaling

Frequencies = npt.NDArray[np.float64]


def rotary_frequencies(config: ModelConfig) -> tuple[Frequencies, float]:
    """inv_freq [head_dim / 2] in radians a position, and the factor on cosines and sines.

    Plain: theta^(-2i/d) (Su et al., "RoFormer", arXiv 2104.09864).
    """
    d = config.head_dim
    plain = config.rope_theta ** (-np.arange(0, d, 2, dtype=np.float64) / d)
    match config.rope_scaling:
        case None:
            return plain, 1.0
        case LinearScaling(factor):  # positions divided (Chen et al., arXiv 2306.15595)
            return plain / factor, 1.0
        case FrequencyFactors(factors):
            return plain / np.array(factors, dtype=np.float64), 1.0
        case Llama3Scaling() as llama3:
            return _llama3(plain, llama3), 1.0
        case YarnScaling() as yarn:
            return _yarn(plain, config.rope_theta, yarn), _yarn_attention_factor(yarn)


def _llama3(plain: Frequencies, scaling: Llama3Scaling) -> Frequencies:
    """Slow waves are stretched, fast ones kept, those between blended (Llama 3.1's reference code).

    The measure is how many turns a wave makes in the original context.
    """
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    turns = scaling.original_max_position_embeddings * plain / (2 * math.pi)
    keep = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - keep) * plain / scaling.factor + keep * plain


def _yarn(plain: Frequencies, theta: float, scaling: YarnScaling) -> Frequencies:
    """A ramp from kept (fast) to stretched (slow) waves (YaRN, section 3.2).

    The ramp's ends are the dimensions that turn beta_fast and beta_slow times in the original
    context, rounded outwards as in the authors' code.
    """
    pairs = plain.size
    original = scaling.original_max_position_embeddings

    def dimension(turns: float) -> float:
        return pairs * math.log(original / (turns * 2 * math.pi)) / math.log(theta)

    first = max(math.floor(dimension(scaling.beta_fast)), 0)
    last = min(math.ceil(dimension(scaling.beta_slow)), 2 * pairs - 1)
    width = last - first if last != first else 0.001
    stretched = np.clip((np.arange(pairs) - first) / width, 0, 1)
    return stretched * plain / scaling.factor + (1 - stretched) * plain


def _yarn_attention_factor(scaling: YarnScaling) -> float:
    """The temperature of YaRN's section 3.4, applied to q and k through cosine and sine."""
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    factor = scaling.factor

    def temperature(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

    if scaling.mscale is not None and scaling.mscale_all_dim is not None:
        return temperature(scaling.mscale) / temperature(scaling.mscale_all_dim)
    return temperature(1.0)
