"""Reads a Llama or Mistral model from a GGUF file: names, sizes and tokenizer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cierzo.backends.tensor import RawTensor, StorageType
from cierzo.model.config import Architecture, ModelConfig
from cierzo.model.errors import ModelError
from cierzo.model.readers.contents import Contents, TokenizerSource
from cierzo.model.readers.fields import Fields
from cierzo.model.readers.gguf import GGUFFile, StringList, read_gguf
from cierzo.model.readers.huggingface import check_window
from cierzo.model.readers.mistral import tekken_source
from cierzo.model.readers.rope_scaling import frequency_factors, gguf_rope_scaling

_ARCHITECTURES: dict[str, Architecture] = {"llama": "llama", "mistral3": "mistral"}
_ROPE_FREQS = "rope_freqs.weight"
_TOP = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_LAYER_NAME = re.compile(r"blk\.(\d{1,4})\.(.+)\.(weight|bias)")

# Pre-tokenizers whose models start with a BOS token though the file may not say so.
_PRE_WITH_BOS = ("llama-bpe", "tekken")


def read_gguf_model(path: Path) -> Contents:
    """Opens the file. q and k are permuted by the converter to pairs (2i, 2i + 1).

    A tekken.json beside a file with a Tekken vocabulary is preferred to the copy in the file:
    mistral-common then builds prompts exactly as Mistral does.
    """
    content = read_gguf(path)
    arch = Fields(content.metadata, path).text("general.architecture")
    if arch not in _ARCHITECTURES:
        raise ModelError(
            f"{path}: the architecture {arch[:40]!r} is not supported; use a GGUF of one of "
            f"these: {', '.join(_ARCHITECTURES)}"
        )
    fields = Fields(content.metadata, path, f"{arch}.")
    tensors = {}
    for stored, tensor in content.tensors.items():
        if stored != _ROPE_FREQS:
            name = _hf_name(stored)
            tensors[name] = RawTensor(name, tensor.shape, tensor.storage, tensor.data, path)
    config = _model_config(fields, content, _ARCHITECTURES[arch], tensors)
    tokens = content.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, StringList) and len(tokens) > config.vocab_size:
        raise ModelError(
            f"{path}: tokenizer.ggml.tokens has {len(tokens)} tokens, the model knows "
            f"{config.vocab_size}; the file is damaged"
        )
    return Contents(
        config=config,
        tensors=tensors,
        tokenizer=_tokenizer(path, content.metadata),
        format="gguf",
        config_file=path,
        files={path: content.file},
    )


def _hf_name(stored: str) -> str:
    """The Hugging Face name of a tensor; an unknown one keeps its own."""
    match = _LAYER_NAME.fullmatch(stored)
    if match is None:
        top, dot, kind = stored.partition(".")
        return _TOP[top] + dot + kind if top in _TOP else stored
    layer, part, kind = match.groups()
    return f"model.layers.{layer}.{_LAYER.get(part, part)}.{kind}"


def _model_config(
    fields: Fields, content: GGUFFile, architecture: Architecture, tensors: Mapping[str, RawTensor]
) -> ModelConfig:
    _refuse_variants(fields, content)
    heads = _uniform(fields, "attention.head_count")
    hidden = fields.integer("embedding_length")
    head_dim = fields.integer("attention.key_length", hidden // max(heads, 1))
    for key in ("attention.value_length", "rope.dimension_count"):
        if fields.integer(key, head_dim) != head_dim:
            raise ModelError(
                f"{fields.file}: {fields.prefix}{key} is {fields.integer(key)}, not the key "
                f"length {head_dim}; such models are not supported"
            )
    positions = fields.integer("context_length")
    check_window(fields, "attention.sliding_window", positions)
    embedding = tensors.get("model.embed_tokens.weight")
    scaling = gguf_rope_scaling(fields, positions)
    if _ROPE_FREQS in content.tensors:
        factors = _floats(content.tensors[_ROPE_FREQS])
        scaling = frequency_factors(factors, head_dim, fields.file)
    return ModelConfig(
        architecture=architecture,
        hidden_size=hidden,
        num_hidden_layers=fields.integer("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=_uniform(fields, "attention.head_count_kv", heads),
        head_dim=head_dim,
        intermediate_size=_uniform(fields, "feed_forward_length"),
        vocab_size=fields.integer("vocab_size", embedding.shape[0] if embedding else None),
        rms_norm_eps=fields.number("attention.layer_norm_rms_epsilon"),
        rope_theta=fields.number("rope.freq_base", 10_000.0),
        max_position_embeddings=positions,
        tie_word_embeddings="lm_head.weight" not in tensors,
        rope_interleaved=True,
        rope_scaling=scaling,
    )


def _refuse_variants(fields: Fields, content: GGUFFile) -> None:
    """Settings that change the result and are not supported."""
    splits = Fields(content.metadata, fields.file).integer("split.count", 0)
    if splits > 1:
        raise ModelError(
            f"{fields.file}: split.count: one of {splits} parts; join them with llama-gguf-split "
            "--merge"
        )
    if fields.integer("expert_count", 0):
        raise ModelError(
            f"{fields.file}: {fields.prefix}expert_count: mixtures of experts are not "
            "supported; use a dense model"
        )
    if fields.number("attention.temperature_scale", 0.0):
        raise ModelError(
            f"{fields.file}: {fields.prefix}attention.temperature_scale scales attention by "
            "position, which is not supported; use a model without it, such as Devstral Small 1.1"
        )


def _uniform(fields: Fields, key: str, default: int | None = None) -> int:
    """A whole number that may be given once for each layer, if all are the same."""
    value = fields.values.get(fields.prefix + key)
    if not isinstance(value, np.ndarray):
        return fields.integer(key, default)
    if value.dtype.kind not in "iu" or value.size == 0 or (value != value[0]).any():
        raise ModelError(
            f"{fields.file}: {fields.prefix}{key} differs between layers; such models are not "
            "supported"
        )
    return int(value[0])


def _floats(tensor: RawTensor) -> tuple[float, ...]:
    if tensor.storage is not StorageType.F32 or len(tensor.shape) != 1:
        raise ModelError(f"{tensor.file}: {tensor.name} is not a list of F32; fetch the file again")
    return tuple(tensor.data.view(np.float32).tolist())


def _tokenizer(path: Path, metadata: Mapping[str, object]) -> TokenizerSource:
    fields = Fields(metadata, path, "tokenizer.ggml.")
    pre = fields.text("pre", "default")
    tekken = path.parent / "tekken.json"
    if pre == "tekken" and tekken.is_file():
        return tekken_source(tekken)
    if "model" not in fields:
        raise ModelError(f"{path}: tokenizer.ggml.model is missing: the file has no vocabulary")
    end_keys = ("eos_token_id", "eot_token_id", "eom_token_id")
    ends = [fields.integer(key) for key in end_keys if key in fields]
    template = metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise ModelError(f"{path}: tokenizer.chat_template is not a string; fetch the file again")
    return TokenizerSource(
        kind="gguf",
        path=path,
        chat_template=template,
        bos_token_id=fields.integer("bos_token_id") if "bos_token_id" in fields else None,
        eos_token_ids=tuple(dict.fromkeys(ends)),
        add_bos=fields.flag("add_bos_token", pre in _PRE_WITH_BOS),
        metadata={key: value for key, value in metadata.items() if key.startswith("tokenizer.")},
    )
