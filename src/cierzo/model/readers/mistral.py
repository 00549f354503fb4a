"""Reads a folder in Mistral's own layout: params.json, consolidated safetensors, tekken.json."""

from __future__ import annotations

import re
from pathlib import Path

from cierzo.model.config import ModelConfig
from cierzo.model.errors import ModelError
from cierzo.model.readers.contents import Contents, TokenizerSource
from cierzo.model.readers.fields import Fields, read_json
from cierzo.model.readers.huggingface import check_window
from cierzo.model.readers.safetensors import TensorEntry, check_index, indexed_files, read_entries

_INDEX = "consolidated.safetensors.index.json"
_BOS, _EOS = 1, 2  # <s> and </s> of every Tekken vocabulary

# Where no file says how long contexts may be: what every published Mistral model takes.
_DEFAULT_POSITIONS = 32_768

_TOP = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = {
    "attention_norm": "input_layernorm",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
}
_LAYER_NAME = re.compile(r"layers\.(\d{1,4})\.(.+)\.(weight|bias)")
_VISION = ("vision_encoder.", "vision_language_adapter.", "patch_merger.", "pre_mm_projector_norm.")
_UNSUPPORTED = (
    "moe",
    "quantization",
    "yarn",
    "llama_4_scaling",
    "rope_scaling",
    "lora",
    "q_lora_rank",
)


def read_mistral(folder: Path) -> Contents:
    """Opens the folder. q and k are as trained: rotary positions turn pairs (2i, 2i + 1)."""
    file = folder / "params.json"
    params = read_json(file)
    entries = _entries(folder)
    tensors = {}
    for stored, entry in entries.items():
        if not stored.startswith(_VISION):
            name = _hf_name(stored)
            tensors[name] = entry.load(stored, name)
    tekken = folder / "tekken.json"
    if not tekken.is_file():
        raise ModelError(f"{tekken}: missing; fetch it from the model's repository")
    return Contents(
        config=_model_config(params, folder, tied="lm_head.weight" not in tensors),
        tensors=tensors,
        tokenizer=tekken_source(tekken),
        format="mistral",
        config_file=file,
        files={entry.file.path: entry.file for entry in entries.values()},
    )


def tekken_source(path: Path) -> TokenizerSource:
    """The tokenizer of a tekken.json alone; mistral-common knows the chat format."""
    return TokenizerSource(
        kind="tekken",
        path=path,
        chat_template=None,
        bos_token_id=_BOS,
        eos_token_ids=(_EOS,),
        add_bos=True,
        metadata={},
    )


def _entries(folder: Path) -> dict[str, TensorEntry]:
    index = folder / _INDEX
    if index.is_file():
        files, named = indexed_files(index)
        entries = read_entries(files)
        check_index(index, named, entries)
        return entries
    files = sorted(folder.glob("consolidated*.safetensors"))
    if not files:
        raise ModelError(f"{folder}: params.json has no consolidated*.safetensors beside it")
    return read_entries(files)


def _hf_name(stored: str) -> str:
    """The Hugging Face name of a tensor; an unknown one keeps its own."""
    match = _LAYER_NAME.fullmatch(stored)
    if match is None:
        return _TOP.get(stored, stored)
    layer, part, kind = match.groups()
    return f"model.layers.{layer}.{_LAYER.get(part, part)}.{kind}"


def _model_config(params: Fields, folder: Path, *, tied: bool) -> ModelConfig:
    for key in _UNSUPPORTED:
        if key in params:
            raise ModelError(
                f"{params.file}: {key} is not supported in this layout; use a plain dense model "
                "in BF16, or its GGUF version"
            )
    heads = params.integer("n_heads")
    positions = _positions(params, folder)
    check_window(params, "sliding_window", positions)
    return ModelConfig(
        architecture="mistral",
        hidden_size=params.integer("dim"),
        num_hidden_layers=params.integer("n_layers"),
        num_attention_heads=heads,
        num_key_value_heads=params.integer("n_kv_heads", heads),
        head_dim=params.integer("head_dim", params.integer("dim") // max(heads, 1)),
        intermediate_size=params.integer("hidden_dim"),
        vocab_size=params.integer("vocab_size"),
        rms_norm_eps=params.number("norm_eps"),
        rope_theta=params.number("rope_theta", 10_000.0),
        max_position_embeddings=positions,
        tie_word_embeddings=tied,
        rope_interleaved=True,
    )


def _positions(params: Fields, folder: Path) -> int:
    """The longest context: params.json's, or that of a config.json beside it."""
    for key in ("max_position_embeddings", "max_seq_len", "model_max_length"):
        if key in params:
            return params.integer(key)
    config = folder / "config.json"
    if config.is_file():
        top = read_json(config)
        text = top.group("text_config") or top
        return text.integer("max_position_embeddings", _DEFAULT_POSITIONS)
    return _DEFAULT_POSITIONS
