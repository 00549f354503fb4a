"""Rotary frequencies against transformers' own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from cierzo.model.config import ModelConfig
from cierzo.model.rope import rotary_frequencies
from cierzo.model.rope_scaling import FrequencyFactors, RopeScaling
from tests.support.tiny_model import rope_scaling

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192.0,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096.0}


def frequencies(scaling: RopeScaling | None, theta: float = 500_000.0) -> tuple[np.ndarray, float]:
    return rotary_frequencies(
        ModelConfig(
            architecture="llama",
            hidden_size=256,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=128,
            intermediate_size=512,
            vocab_size=100,
            rms_norm_eps=1e-5,
            rope_theta=theta,
            max_position_embeddings=32_768,
            tie_word_embeddings=True,
            rope_interleaved=False,
            rope_scaling=scaling,
        )
    )


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 2.5},
        LLAMA3,
        YARN,
        YARN | {"beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.25},
        YARN | {"mscale": 0.7, "mscale_all_dim": 0.4},
        YARN | {"factor": 0.9},
    ],
    ids=["linear", "llama3", "yarn", "yarn-options", "yarn-mscale", "yarn-shorter"],
)
def test_scalings_are_those_of_transformers(scaling: dict[str, Any]) -> None:
    theta = 500_000.0
    config = LlamaConfig(
        hidden_size=256,
        num_attention_heads=2,
        head_dim=128,
        max_position_embeddings=32_768,
        rope_parameters=scaling | {"rope_theta": theta},
    )
    want, want_scale = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, "cpu")
    got, scale = frequencies(rope_scaling(scaling), theta)
    np.testing.assert_allclose(got, want.numpy(), rtol=2e-6)
    assert scale == pytest.approx(want_scale)


def test_plain_frequencies() -> None:
    got, scale = frequencies(None, 10_000.0)
    assert got.shape == (64,)
    assert (got[0], scale) == (1.0, 1.0)
    np.testing.assert_allclose(got[1:] / got[:-1], 10_000 ** (-1 / 64))


def test_factors_divide_each_frequency() -> None:
    factors = tuple(np.linspace(1, 8, 64).tolist())
    plain, _ = frequencies(None)
    got, _ = frequencies(FrequencyFactors(factors))
    np.testing.assert_allclose(got * np.array(factors), plain)
