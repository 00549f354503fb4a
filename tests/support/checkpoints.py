"""Writes small random checkpoints in every layout Cierzo reads, each with a whole tokenizer.

    model = TinyModel()                       # sizes; what is not given is small and awkward
    write_hf(folder, model)                   # config.json, safetensors, tokenizer.json
    write_hf(folder, model, shards=3, layout="mistral3", tokenizer="tekken")
    write_mistral(folder, model)              # params.json, consolidated.safetensors, tekken.json
    write_gguf(folder / "m.gguf", model, StorageType.Q4_K)

All of them take the weights of `random_weights(model, seed)`, under Hugging Face names, unless
given others. Those are multiples of 2^-9 (norms: 2^-6) below 1/4 (1.5), so that F32, F16 and BF16
hold them exactly and every float layout is the same model. `quantise.stored` says what a GGUF type
makes of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cierzo.backends.tensor import StorageType
from tests.support import tokenizers
from tests.support.gguf_files import llama3_factors, write_gguf
from tests.support.quantise import quantise
from tests.support.tiny_model import (
    BPE_VOCAB,
    LAYER_NAMES,
    TEKKEN_VOCAB,
    TinyModel,
    TokenizerKind,
    Weights,
    interleave_heads,
    interleaved,
    random_weights,
    renames,
    tekken_model,
)

__all__ = [
    "BPE_VOCAB",
    "TEKKEN_VOCAB",
    "TinyModel",
    "Weights",
    "hf_config",
    "interleave_heads",
    "llama3_factors",
    "random_weights",
    "tekken_model",
    "write_gguf",
    "write_hf",
    "write_mistral",
    "write_safetensors",
]

Layout = Literal["plain", "mistral3", "mistral3-new"]

_SAFETENSORS_NAMES = {StorageType.F32: "F32", StorageType.F16: "F16", StorageType.BF16: "BF16"}


def write_hf(
    folder: Path,
    model: TinyModel | None = None,
    *,
    weights: Weights | None = None,
    seed: int = 0,
    dtype: StorageType = StorageType.BF16,
    shards: int = 1,
    tokenizer: TokenizerKind = "bpe",
    layout: Layout = "plain",
    rope_parameters: bool = False,
) -> Path:
    """Hugging Face's layout. `rope_parameters`: config.json as transformers 5 writes it.

    `layout="mistral3"` wraps the text model as Mistral3ForConditionalGeneration does on disk,
    with a tensor of the vision tower beside it; "mistral3-new" uses the newer tensor names.
    """
    model = model or (tekken_model() if tokenizer == "tekken" else TinyModel())
    folder.mkdir(parents=True, exist_ok=True)
    named = _wrapped(weights or random_weights(model, seed), layout)
    config = hf_config(model, tokenizer=tokenizer, rope_parameters=rope_parameters)
    if layout != "plain":
        text = {key: value for key, value in config.items() if key != "architectures"}
        config = {
            "architectures": ["Mistral3ForConditionalGeneration"],
            "model_type": "mistral3",
            "text_config": text,
            "vision_config": {"model_type": "pixtral"},
        }
    _write_json(folder / "config.json", config)
    eos = config.get("text_config", config)["eos_token_id"]
    _write_json(folder / "generation_config.json", {"eos_token_id": [eos], "do_sample": True})
    _write_shards(folder, named, dtype, shards)
    _write_tokenizer(folder, tokenizer)
    return folder


def write_mistral(
    folder: Path,
    model: TinyModel | None = None,
    *,
    weights: Weights | None = None,
    seed: int = 0,
    dtype: StorageType = StorageType.BF16,
) -> Path:
    """Mistral's own layout: params.json, consolidated.safetensors, tekken.json."""
    model = model or tekken_model()
    folder.mkdir(parents=True, exist_ok=True)
    params = {
        "dim": model.hidden_size,
        "n_layers": model.num_hidden_layers,
        "head_dim": model.head_dim,
        "hidden_dim": model.intermediate_size,
        "n_heads": model.num_attention_heads,
        "n_kv_heads": model.num_key_value_heads,
        "rope_theta": model.rope_theta,
        "norm_eps": model.rms_norm_eps,
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.max_position_embeddings,
    }
    if model.tie_word_embeddings:
        params["tied_embeddings"] = True
    _write_json(folder / "params.json", params)
    named = _renamed(interleaved(weights or random_weights(model, seed), model), _MISTRAL_NAMES)
    write_safetensors(folder / "consolidated.safetensors", named, dtype)
    _write_tokenizer(folder, "tekken")
    return folder


def hf_config(
    model: TinyModel, *, tokenizer: TokenizerKind = "bpe", rope_parameters: bool = False
) -> dict[str, Any]:
    """What config.json says, in transformers' version 4 or, with `rope_parameters`, 5."""
    bos, eos = (1, 2)  # <|im_start|> and <|im_end|>, or <s> and </s>
    config: dict[str, Any] = {
        "architectures": [f"{model.architecture.capitalize()}ForCausalLM"],
        "model_type": model.architecture,
        "hidden_size": model.hidden_size,
        "num_hidden_layers": model.num_hidden_layers,
        "num_attention_heads": model.num_attention_heads,
        "num_key_value_heads": model.num_key_value_heads,
        "head_dim": model.head_dim,
        "intermediate_size": model.intermediate_size,
        "vocab_size": model.vocab_size,
        "rms_norm_eps": model.rms_norm_eps,
        "max_position_embeddings": model.max_position_embeddings,
        "tie_word_embeddings": model.tie_word_embeddings,
        "hidden_act": "silu",
        "bos_token_id": bos,
        "eos_token_id": eos,
    }
    if model.architecture == "mistral":
        config["sliding_window"] = None
    scaling = dict(model.rope_scaling) if model.rope_scaling else None
    if rope_parameters:
        rope = scaling or {"rope_type": "default"}
        return config | {"rope_parameters": rope | {"rope_theta": model.rope_theta}}
    return config | {"rope_theta": model.rope_theta, "rope_scaling": scaling}


def write_safetensors(path: Path, weights: Weights, dtype: StorageType) -> None:
    """One safetensors file: header length, header, data. Written here, byte by byte, so that a
    test can also write a defective one; `tests/model` checks it against the safetensors package.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    chunks, offset = [], 0
    for name, weight in weights.items():
        data = quantise(weight, dtype).tobytes()
        header[name] = {
            "dtype": _SAFETENSORS_NAMES[dtype],
            "shape": list(weight.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(chunks))


_MISTRAL_NAMES = {
    "model.embed_tokens.": "tok_embeddings.",
    "model.norm.": "norm.",
    "lm_head.": "output.",
    "model.layers.": "layers.",
} | {f".{hf}.": f".{name}." for hf, _, name in LAYER_NAMES}


def _renamed(weights: Weights, table: Mapping[str, str]) -> Weights:
    return {name: weights[hf_name] for hf_name, name in renames(weights, table).items()}


def _wrapped(weights: Weights, layout: Layout) -> Weights:
    """Tensor names of the text model inside Mistral3ForConditionalGeneration."""
    if layout == "plain":
        return weights
    if layout == "mistral3":
        named = {f"language_model.{name}": weight for name, weight in weights.items()}
    else:
        named = {
            name.replace("model.", "model.language_model.", 1): weight
            for name, weight in weights.items()
        }
    return {"vision_tower.patch_conv.weight": np.ones((4, 4), np.float32)} | named


def _write_shards(folder: Path, weights: Weights, dtype: StorageType, shards: int) -> None:
    if shards == 1:
        write_safetensors(folder / "model.safetensors", weights, dtype)
        return
    names = list(weights)
    where: dict[str, str] = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = {name: weights[name] for name in names[i::shards]}
        write_safetensors(folder / file, part, dtype)
        where |= dict.fromkeys(part, file)
    total = sum(weight.size for weight in weights.values()) * dtype.block_bytes
    index = {"metadata": {"total_size": total}, "weight_map": where}
    _write_json(folder / "model.safetensors.index.json", index)


def _write_tokenizer(folder: Path, kind: TokenizerKind) -> None:
    if kind == "tekken":
        (folder / "tekken.json").write_text(tokenizers.tekken_json(), encoding="utf-8")
        return
    (folder / "tokenizer.json").write_text(tokenizers.bpe_tokenizer_json(), encoding="utf-8")
    _write_json(
        folder / "tokenizer_config.json",
        {
            "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>",
            "unk_token": "<|endoftext|>",
            "add_prefix_space": False,
            "tokenizer_class": "GPT2Tokenizer",
            "chat_template": tokenizers.CHATML_TEMPLATE,
        },
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
