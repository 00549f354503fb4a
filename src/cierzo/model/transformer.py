"""The forward pass of the Llama and Mistral family, written once over `Ops`, and its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from cierzo.backends.ops import Ops
from cierzo.backends.tensor import RawTensor
from cierzo.model.config import ModelConfig
from cierzo.settings import Quantization

A = TypeVar("A")
W = TypeVar("W")


@dataclass(frozen=True)
class Layer(Generic[W]):
    """Weights of one layer, laid out for a device."""

    attention_norm: W
    qkv: W
    output: W
    mlp_norm: W
    gate_up: W
    down: W


@dataclass(frozen=True)
class Weights(Generic[W]):
    """Weights of a model, laid out for a device."""

    embedding: W
    layers: tuple[Layer[W], ...]
    norm: W
    lm_head: W


def forward(ops: Ops[A, W], weights: Weights[W], config: ModelConfig) -> A:
    """Logits [L, vocab_size] of the step's tokens."""
    eps = config.rms_norm_eps
    x = ops.embed(weights.embedding)
    # Nothing after the last layers averages their rounding out: it goes straight to the logits. One
    # layer in 24 computed more precisely costs little and takes a fifth of the divergence away.
    first_precise = len(weights.layers) - len(weights.layers) // 24
    for i, layer in enumerate(weights.layers):
        h = ops.rms_norm(x, layer.attention_norm, eps)
        q = ops.rope_and_store(ops.linear(h, layer.qkv), i)
        if i + 1 == len(weights.layers):
            # No other token's attention needs more of these than their keys and values.
            q, x = ops.wanted_rows(q), ops.wanted_rows(x)
        x = ops.linear(ops.paged_attention(q, i), layer.output, residual=x)
        h = ops.rms_norm(x, layer.mlp_norm, eps)
        x = ops.gated_mlp(h, layer.gate_up, layer.down, residual=x, precise=i >= first_precise)
    return ops.logits(x, weights.norm, eps, weights.lm_head)


def load_weights(
    ops: Ops[A, W],
    tensors: Mapping[str, RawTensor],
    config: ModelConfig,
    *,
    quantize: Quantization | None = None,
    release: Callable[[RawTensor], None] = lambda raw: None,
) -> Weights[W]:
    """Lays out a checkpoint's tensors (Hugging Face names), letting go of each once it is done.

    `quantize` is for float matrices. Embedding and output matrix get 8 bits even
    with "w4": they are a small part of a large model and every token depends on them.
    """

    def matrix(*names: str, bits: Quantization | None = quantize) -> W:
        raws = [tensors[f"{name}.weight"] for name in names]
        laid_out = ops.matrix(*raws, quantize=bits)
        for raw in raws:
            release(raw)
        return laid_out

    def layer(prefix: str) -> Layer[W]:
        attention, mlp = f"{prefix}.self_attn", f"{prefix}.mlp"
        return Layer(
            attention_norm=ops.vector(tensors[f"{prefix}.input_layernorm.weight"]),
            qkv=matrix(*(f"{attention}.{part}_proj" for part in "qkv")),
            output=matrix(f"{attention}.o_proj"),
            mlp_norm=ops.vector(tensors[f"{prefix}.post_attention_layernorm.weight"]),
            gate_up=matrix(f"{mlp}.gate_proj", f"{mlp}.up_proj"),
            down=matrix(f"{mlp}.down_proj"),
        )

    ends: Quantization | None = "w8" if quantize else None
    embedding = matrix("model.embed_tokens", bits=ends)
    return Weights(
        embedding=embedding,
        layers=tuple(layer(f"model.layers.{i}") for i in range(config.num_hidden_layers)),
        norm=ops.vector(tensors["model.norm.weight"]),
        lm_head=embedding if config.tie_word_embeddings else matrix("lm_head", bits=ends),
    )
