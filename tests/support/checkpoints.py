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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import numpy.typing as npt

from cierzo.backends.tensor import StorageType
from tests.support import tokenizers
from tests.support.quantise import GGML_TYPES, quantise

Weights = dict[str, npt.NDArray[np.float32]]
TokenizerKind = Literal["bpe", "tekken"]
Layout = Literal["plain", "mistral3", "mistral3-new"]

BPE_VOCAB = 512
TEKKEN_VOCAB = tokenizers.TEKKEN_BYTE_TOKENS + tokenizers.TEKKEN_SPECIAL_COUNT
_SAFETENSORS_NAMES = {StorageType.F32: "F32", StorageType.F16: "F16", StorageType.BF16: "BF16"}


@dataclass(frozen=True)
class TinyModel:
    """Sizes of a small model. Rows hold whole k-quant blocks; heads * head_dim != hidden."""

    architecture: Literal["llama", "mistral"] = "llama"
    hidden_size: int = 256
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    num_key_value_heads: int = 2
    head_dim: int = 64
    intermediate_size: int = 512
    vocab_size: int = BPE_VOCAB
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    max_position_embeddings: int = 1_024
    tie_word_embeddings: bool = False
    rope_scaling: Mapping[str, Any] | None = None  # Hugging Face's form: "llama3" or "yarn"


def tekken_model(**sizes: Any) -> TinyModel:
    """A TinyModel of the Mistral family whose vocabulary is the cut Tekken."""
    return replace(TinyModel(architecture="mistral", vocab_size=TEKKEN_VOCAB), **sizes)


def random_weights(model: TinyModel, seed: int = 0) -> Weights:
    """Weights [out, in] by Hugging Face name, exact in every float type."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, cols: int) -> npt.NDArray[np.float32]:
        steps = np.rint(rng.standard_normal((rows, cols), dtype=np.float32) * 512 / cols**0.5)
        values: npt.NDArray[np.float32] = np.clip(steps, -127, 127) / np.float32(512)
        return values

    def norm() -> npt.NDArray[np.float32]:
        steps = rng.integers(-32, 33, model.hidden_size)
        return (1 + steps / 64).astype(np.float32)

    heads = model.num_attention_heads * model.head_dim
    kv_heads = model.num_key_value_heads * model.head_dim
    hidden, inner = model.hidden_size, model.intermediate_size
    weights: Weights = {"model.embed_tokens.weight": matrix(model.vocab_size, hidden)}
    for i in range(model.num_hidden_layers):
        weights |= {
            f"model.layers.{i}.input_layernorm.weight": norm(),
            f"model.layers.{i}.self_attn.q_proj.weight": matrix(heads, hidden),
            f"model.layers.{i}.self_attn.k_proj.weight": matrix(kv_heads, hidden),
            f"model.layers.{i}.self_attn.v_proj.weight": matrix(kv_heads, hidden),
            f"model.layers.{i}.self_attn.o_proj.weight": matrix(hidden, heads),
            f"model.layers.{i}.post_attention_layernorm.weight": norm(),
            f"model.layers.{i}.mlp.gate_proj.weight": matrix(inner, hidden),
            f"model.layers.{i}.mlp.up_proj.weight": matrix(inner, hidden),
            f"model.layers.{i}.mlp.down_proj.weight": matrix(hidden, inner),
        }
    weights["model.norm.weight"] = norm()
    if not model.tie_word_embeddings:
        weights["lm_head.weight"] = matrix(model.vocab_size, hidden)
    return weights


def interleave_heads(weight: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Rows of q or k from Hugging Face's rotary order (i, i + d/2) to pairs (2i, 2i + 1)."""
    rows, cols = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


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
    named = _renamed(_interleaved(weights or random_weights(model, seed), model), _MISTRAL_NAMES)
    write_safetensors(folder / "consolidated.safetensors", named, dtype)
    _write_tokenizer(folder, "tekken")
    return folder


def write_gguf(
    path: Path,
    model: TinyModel | None = None,
    storage: StorageType = StorageType.Q8_0,
    *,
    weights: Weights | None = None,
    seed: int = 0,
    tokenizer: TokenizerKind = "bpe",
    arch: str = "llama",
    types: Mapping[str, StorageType] | None = None,
) -> Path:
    """A GGUF with matrices as `storage` (`types`: others by Hugging Face name), norms as F32."""
    model = model or (tekken_model() if tokenizer == "tekken" else TinyModel())
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name("tiny")
    writer.add_block_count(model.num_hidden_layers)
    writer.add_context_length(model.max_position_embeddings)
    writer.add_embedding_length(model.hidden_size)
    writer.add_feed_forward_length(model.intermediate_size)
    writer.add_head_count(model.num_attention_heads)
    writer.add_head_count_kv(model.num_key_value_heads)
    writer.add_key_length(model.head_dim)
    writer.add_value_length(model.head_dim)
    writer.add_layer_norm_rms_eps(model.rms_norm_eps)
    writer.add_rope_freq_base(model.rope_theta)
    writer.add_rope_dimension_count(model.head_dim)
    writer.add_vocab_size(model.vocab_size)
    _add_gguf_rope(writer, model)
    _add_gguf_tokenizer(writer, tokenizer)
    ordered = _interleaved(weights or random_weights(model, seed), model)
    for hf_name, name in _renames(ordered, _GGUF_NAMES).items():
        weight = ordered[hf_name]
        kind = StorageType.F32 if weight.ndim == 1 else (types or {}).get(hf_name, storage)
        writer.add_tensor(name, quantise(weight, kind), raw_dtype=GGML_TYPES[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


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


_LAYER_NAMES = (  # Hugging Face, GGUF, Mistral
    ("input_layernorm", "attn_norm", "attention_norm"),
    ("self_attn.q_proj", "attn_q", "attention.wq"),
    ("self_attn.k_proj", "attn_k", "attention.wk"),
    ("self_attn.v_proj", "attn_v", "attention.wv"),
    ("self_attn.o_proj", "attn_output", "attention.wo"),
    ("post_attention_layernorm", "ffn_norm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate", "feed_forward.w1"),
    ("mlp.up_proj", "ffn_up", "feed_forward.w3"),
    ("mlp.down_proj", "ffn_down", "feed_forward.w2"),
)
_GGUF_NAMES = {
    "model.embed_tokens.": "token_embd.",
    "model.norm.": "output_norm.",
    "lm_head.": "output.",
    "model.layers.": "blk.",
} | {f".{hf}.": f".{name}." for hf, name, _ in _LAYER_NAMES}
_MISTRAL_NAMES = {
    "model.embed_tokens.": "tok_embeddings.",
    "model.norm.": "norm.",
    "lm_head.": "output.",
    "model.layers.": "layers.",
} | {f".{hf}.": f".{name}." for hf, _, name in _LAYER_NAMES}


def _renames(weights: Weights, table: Mapping[str, str]) -> dict[str, str]:
    """Hugging Face's name of each weight to the other layout's."""
    renames = {}
    for hf_name in weights:
        name = hf_name
        for old, new in table.items():
            name = name.replace(old, new, 1)
        renames[hf_name] = name
    return renames


def _renamed(weights: Weights, table: Mapping[str, str]) -> Weights:
    return {name: weights[hf_name] for hf_name, name in _renames(weights, table).items()}


def _interleaved(weights: Weights, model: TinyModel) -> Weights:
    heads = {".q_proj.": model.num_attention_heads, ".k_proj.": model.num_key_value_heads}
    return {
        name: next(
            (interleave_heads(weight, n) for part, n in heads.items() if part in name), weight
        )
        for name, weight in weights.items()
    }


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


def _add_gguf_rope(writer: gguf.GGUFWriter, model: TinyModel) -> None:
    scaling = model.rope_scaling
    if scaling is None:
        return
    if scaling["rope_type"] == "llama3":
        factors = llama3_factors(model.head_dim, model.rope_theta, scaling)
        writer.add_tensor("rope_freqs.weight", factors)
    elif scaling["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
    else:
        raise ValueError(scaling)


def llama3_factors(
    head_dim: int, theta: float, scaling: Mapping[str, Any]
) -> npt.NDArray[np.float32]:
    """Llama 3's divisors of the rotary frequencies, as llama.cpp's converter computes them."""
    wavelength = 2 * np.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    factor, low, high = (scaling[k] for k in ("factor", "low_freq_factor", "high_freq_factor"))
    ratio = scaling["original_max_position_embeddings"] / wavelength
    smooth = (ratio - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.where(ratio < low, factor, np.where(ratio > high, 1, between)).astype(np.float32)


def _add_gguf_tokenizer(writer: gguf.GGUFWriter, kind: TokenizerKind) -> None:
    if kind == "tekken":
        tokens, merges = tokenizers.tekken_vocabulary()
        special = tokenizers.TEKKEN_SPECIAL_COUNT
        template = None
    else:
        tokens, merges = tokenizers.bpe_vocabulary()
        special = len(tokenizers.BPE_SPECIAL_TOKENS)
        template = tokenizers.CHATML_TEMPLATE
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("tekken" if kind == "tekken" else "smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([control if i < special else normal for i in range(len(tokens))])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(kind == "tekken")
    if template is not None:
        writer.add_chat_template(template)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
