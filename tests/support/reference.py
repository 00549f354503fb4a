"""The transformer in float64, straight from its definition: what the engine's logits are held to.

Weights and names are those of `checkpoints.random_weights`; rotary pairs are (i, i + d/2) unless
`interleaved`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from tests.support.checkpoints import TinyModel, Weights

Float64 = npt.NDArray[np.float64]


def reference_logits(
    weights: Weights,
    model: TinyModel,
    tokens: Sequence[int],
    *,
    interleaved: bool = False,
) -> Float64:
    """Logits [T, vocab] of a prompt."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    x = w["model.embed_tokens.weight"][list(tokens)]
    positions = np.arange(len(tokens), dtype=np.float64)
    for i in range(model.num_hidden_layers):
        layer = f"model.layers.{i}"
        h = _norm(x, w[f"{layer}.input_layernorm.weight"], model)
        q, k, v = (
            (h @ w[f"{layer}.self_attn.{part}_proj.weight"].T).reshape(
                len(tokens), -1, model.head_dim
            )
            for part in "qkv"
        )
        q = _rotate(q, positions, model, interleaved=interleaved)
        k = _rotate(k, positions, model, interleaved=interleaved)
        heads = _attend(q, k, v)
        x = x + heads @ w[f"{layer}.self_attn.o_proj.weight"].T
        h = _norm(x, w[f"{layer}.post_attention_layernorm.weight"], model)
        gate = h @ w[f"{layer}.mlp.gate_proj.weight"].T
        up = h @ w[f"{layer}.mlp.up_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ w[f"{layer}.mlp.down_proj.weight"].T
    head = "model.embed_tokens.weight" if model.tie_word_embeddings else "lm_head.weight"
    logits: Float64 = _norm(x, w["model.norm.weight"], model) @ w[head].T
    return logits


def _norm(x: Float64, weight: Float64, model: TinyModel) -> Float64:
    scale = np.sqrt((x * x).mean(axis=-1, keepdims=True) + model.rms_norm_eps)
    return cast(Float64, x / scale * weight)


def _rotate(x: Float64, positions: Float64, model: TinyModel, *, interleaved: bool) -> Float64:
    d = model.head_dim
    frequencies = model.rope_theta ** (-np.arange(0, d, 2) / d)
    angles = positions[:, None, None] * frequencies
    first = slice(0, d, 2) if interleaved else slice(0, d // 2)
    second = slice(1, d, 2) if interleaved else slice(d // 2, d)
    turned = np.empty_like(x)
    turned[..., first] = x[..., first] * np.cos(angles) - x[..., second] * np.sin(angles)
    turned[..., second] = x[..., second] * np.cos(angles) + x[..., first] * np.sin(angles)
    return turned


def _attend(q: Float64, k: Float64, v: Float64) -> Float64:
    """Causal attention of grouped heads: [T, heads * d]."""
    tokens, heads, d = q.shape
    k = np.repeat(k, heads // k.shape[1], axis=1)
    v = np.repeat(v, heads // v.shape[1], axis=1)
    scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(d)
    scores = np.where(np.tril(np.ones((tokens, tokens), dtype=bool)), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return cast(Float64, np.einsum("hts,shd->thd", weights, v).reshape(tokens, heads * d))
