"""The float32 reference: transformers on the weights of a GGUF file, dequantised.

Needs the `test` extra (torch, transformers). The result is a folder with
  tokens.npy      int32   [W, T]  token ids, W windows of T tokens, half code and half prose
  logprobs-i.npy  float32 [T, V]  window i: natural-log probabilities of the next token
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.sample_text import code_sample, prose_sample

Floats = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int32]

_LAYER_PARTS = {
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


def log_softmax(logits: Floats) -> Floats:
    """Natural-log probabilities over the last axis, [..., V] to [..., V], in float32."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    total = np.exp(shifted, dtype=np.float64).sum(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(total), dtype=np.float32)


def make_reference(gguf: Path, target: Path, windows: int, window_length: int) -> None:
    """Runs transformers in float32 over the sample text and write the folder `target`."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    model = _load_model(gguf)
    tokens = np.stack(
        [
            *_windows(tokenizer.encode(code_sample()), windows - windows // 2, window_length),
            *_windows(tokenizer.encode(prose_sample()), windows // 2, window_length),
        ]
    )
    partial = target.with_name(target.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    np.save(partial / "tokens.npy", tokens)
    with torch.inference_mode():
        for i, window in enumerate(tokens):
            logits = model(torch.from_numpy(window.astype(np.int64))[None]).logits[0]
            np.save(partial / f"logprobs-{i}.npy", log_softmax(logits.float().numpy()))
    partial.rename(target)


def _load_model(gguf: Path) -> Any:
    """Transformers' Llama with the file's weights, each dequantised to float32."""
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    reader = GGUFReader(gguf)
    tied = not any(tensor.name == "output.weight" for tensor in reader.tensors)
    config.tie_word_embeddings = tied
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    state = {}
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        part = tensor.name.split(".")[-2]
        if part in heads:
            weight = _rotary_halves(weight, heads[part])
        state[_hugging_face_name(tensor.name)] = torch.from_numpy(weight)
    if tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    build: Callable[..., Any] = AutoModelForCausalLM.from_config
    model = build(config, dtype=torch.float32)
    model.load_state_dict(state)
    return model.eval()


def _rotary_halves(weight: Floats, heads: int) -> Floats:
    """Undoes GGUF's row order for `llama`: rotary pairs lie side by side there, in halves here."""
    rows, columns = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, columns)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(rows, columns))


def _hugging_face_name(name: str) -> str:
    whole = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    if name in whole:
        return whole[name]
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{_LAYER_PARTS[part]}.weight"


def _windows(ids: list[int], count: int, length: int) -> list[Tokens]:
    """`count` windows of `length` ids spread evenly over the text."""
    if len(ids) < count * length:
        raise ValueError(f"the sample text has {len(ids)} tokens, {count * length} are needed")
    step = (len(ids) - length) // max(1, count - 1) if count > 1 else 0
    return [np.asarray(ids[i * step : i * step + length], dtype=np.int32) for i in range(count)]
