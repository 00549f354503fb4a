"""Reads how a checkpoint stretches rotary positions, and brings it to one form."""

from __future__ import annotations

from pathlib import Path

from cierzo.model.errors import ModelError
from cierzo.model.readers.fields import Fields
from cierzo.model.rope_scaling import (
    FrequencyFactors,
    LinearScaling,
    Llama3Scaling,
    RopeScaling,
    YarnScaling,
)


def hf_rope(config: Fields) -> tuple[float, RopeScaling | None]:
    """rope_theta and rope_scaling of a config.json.

    transformers 4 writes `rope_theta` and `rope_scaling` (older: with `type`), transformers 5
    `rope_parameters` with both in it.
    """
    group = config.group("rope_parameters") or config.group("rope_scaling")
    if group is not None and "rope_theta" in group:
        theta = group.number("rope_theta")
    else:
        theta = config.number("rope_theta", 10_000.0)
    if group is None:
        return theta, None
    kind = group.text("rope_type", group.text("type", "default"))
    if group.number("llama_4_scaling_beta", 0.0):
        raise ModelError(
            f"{config.file}: llama_4_scaling_beta scales attention by position, which is not "
            "supported; use a model without it, such as Devstral Small 1.1"
        )
    if group.number("partial_rotary_factor", 1.0) != 1.0:
        raise ModelError(f"{config.file}: partial_rotary_factor other than 1 is not supported")
    return theta, _scaling(kind, group, config.integer("max_position_embeddings", 2048))


def gguf_rope_scaling(metadata: Fields, max_positions: int) -> RopeScaling | None:
    """rope_scaling of a GGUF's `<arch>.rope.scaling.*` keys."""
    names = {
        "factor": "rope.scaling.factor",
        "original_max_position_embeddings": "rope.scaling.original_context_length",
        "beta_fast": "rope.scaling.yarn_beta_fast",
        "beta_slow": "rope.scaling.yarn_beta_slow",
    }
    kind = metadata.text("rope.scaling.type", "none")
    for key in ("rope.scaling.yarn_log_multiplier", "rope.scaling.attn_factor"):
        if metadata.number(key, 0.0) not in (0.0, 1.0):
            raise ModelError(
                f"{metadata.file}: {metadata.prefix}{key} is not supported; use the model's "
                "safetensors version"
            )
    values = {
        name: metadata.values[metadata.prefix + key]
        for name, key in names.items()
        if key in metadata
    }
    renamed = "default" if kind == "none" else kind
    return _scaling(renamed, Fields(values, metadata.file), max_positions)


def frequency_factors(factors: tuple[float, ...], head_dim: int, file: Path) -> FrequencyFactors:
    """A GGUF's rope_freqs.weight: a divisor for each rotary frequency."""
    if len(factors) != head_dim // 2:
        raise ModelError(
            f"{file}: rope_freqs.weight has {len(factors)} numbers, not {head_dim // 2} for "
            f"head_dim {head_dim}; the file is damaged"
        )
    if not all(0 < factor < 1e6 for factor in factors):
        raise ModelError(f"{file}: rope_freqs.weight has a factor that is not positive and finite")
    return FrequencyFactors(factors)


def _scaling(kind: str, group: Fields, max_positions: int) -> RopeScaling | None:
    """The scaling of that kind, its numbers checked."""
    match kind:
        case "default":
            return None
        case "linear":
            return LinearScaling(_positive(group, "factor"))
        case "llama3":
            return _llama3(group)
        case "yarn":
            return YarnScaling(
                factor=_positive(group, "factor"),
                original_max_position_embeddings=_positive(
                    group, "original_max_position_embeddings", max_positions
                ),
                beta_fast=_positive(group, "beta_fast", YarnScaling.beta_fast),
                beta_slow=_positive(group, "beta_slow", YarnScaling.beta_slow),
                attention_factor=_optional(group, "attention_factor"),
                mscale=_optional(group, "mscale"),
                mscale_all_dim=_optional(group, "mscale_all_dim"),
            )
    raise ModelError(
        f"{group.file}: rope scaling of type {kind[:40]!r} is not supported; only default, "
        "linear, llama3 and yarn are"
    )


def _llama3(group: Fields) -> Llama3Scaling:
    scaling = Llama3Scaling(
        factor=_positive(group, "factor"),
        low_freq_factor=_positive(group, "low_freq_factor"),
        high_freq_factor=_positive(group, "high_freq_factor"),
        original_max_position_embeddings=_positive(group, "original_max_position_embeddings"),
    )
    if scaling.high_freq_factor <= scaling.low_freq_factor:
        raise ModelError(f"{group.file}: high_freq_factor is not above low_freq_factor")
    return scaling


def _positive(group: Fields, key: str, default: float | None = None) -> float:
    value = group.number(key, default)
    if value <= 0:
        raise ModelError(f"{group.file}: {key} of the rope scaling is {value}, not positive")
    return value


def _optional(group: Fields, key: str) -> float | None:
    return _positive(group, key) if key in group else None
