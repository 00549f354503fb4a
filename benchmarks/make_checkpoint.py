"""Writes a random-weight checkpoint of Devstral's geometry, or any Llama's, as a GGUF file.

    python -m benchmarks.make_checkpoint devstral-2-layers.gguf --layers 2 --quantization Q4_K_M

The quantisation mix is llama.cpp's (output and some of attn_v and ffn_down in Q6_K under Q4_K_M).
Memory stays bounded: at most one tensor (the largest, Devstral's output head, 0.55 GB) at a time.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter, LlamaFileType
from gguf.quants import quant_shape_to_byte_shape

from benchmarks.random_blocks import Random, random_rows
from benchmarks.random_vocabulary import add_vocabulary

_FILE_TYPES = {
    "Q4_K_M": LlamaFileType.MOSTLY_Q4_K_M,
    "Q4_0": LlamaFileType.MOSTLY_Q4_0,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
}


@dataclass(frozen=True)
class Geometry:
    """Shapes of a Llama; the defaults are Devstral Small 1.1's. Names as in Hugging Face."""

    num_hidden_layers: int = 40
    hidden_size: int = 5120
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    head_dim: int = 128
    intermediate_size: int = 32768
    vocab_size: int = 131072
    max_position_embeddings: int = 131072
    rope_theta: float = 1e9
    rms_norm_eps: float = 1e-5


@dataclass(frozen=True)
class Tensor:
    """One tensor: rows are outputs, columns inputs; `columns == 0` is a norm's vector."""

    name: str
    rows: int
    columns: int
    kind: Kind
    spread: float

    @property
    def nbytes(self) -> int:
        if self.columns == 0:
            return 4 * self.rows
        return self.rows * int(quant_shape_to_byte_shape((self.columns,), self.kind)[0])


def uses_more_bits(layer: int, layers: int) -> bool:
    """Whether Q4_K_M keeps attn_v and ffn_down of this layer in Q6_K: llama.cpp's rule."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def plan(geometry: Geometry, quantization: str) -> Iterator[Tensor]:
    """Yields the tensors in file order. Spreads keep activations near 1 at any depth."""
    g = geometry
    base = {"Q4_K_M": Kind.Q4_K, "Q4_0": Kind.Q4_0, "Q8_0": Kind.Q8_0}[quantization]
    head = Kind.Q8_0 if quantization == "Q8_0" or g.hidden_size % 256 else Kind.Q6_K
    hidden, inner = g.hidden_size, g.intermediate_size
    queries, keys = g.num_attention_heads * g.head_dim, g.num_key_value_heads * g.head_dim
    residual = 1 / np.sqrt(2 * g.num_hidden_layers)

    def matrix(name: str, rows: int, columns: int, kind: Kind = base, gain: float = 1.0) -> Tensor:
        return Tensor(f"{name}.weight", rows, columns, kind, gain / np.sqrt(columns))

    yield matrix("token_embd", g.vocab_size, hidden, gain=np.sqrt(hidden))
    for layer in range(g.num_hidden_layers):
        rich = quantization == "Q4_K_M" and uses_more_bits(layer, g.num_hidden_layers)
        down = Kind.Q6_K if rich else base
        at = f"blk.{layer}."
        yield Tensor(f"{at}attn_norm.weight", hidden, 0, Kind.F32, 0.1)
        yield matrix(f"{at}attn_q", queries, hidden)
        yield matrix(f"{at}attn_k", keys, hidden)
        yield matrix(f"{at}attn_v", keys, hidden, down)
        yield matrix(f"{at}attn_output", hidden, queries, gain=residual)
        yield Tensor(f"{at}ffn_norm.weight", hidden, 0, Kind.F32, 0.1)
        yield matrix(f"{at}ffn_gate", inner, hidden)
        yield matrix(f"{at}ffn_up", inner, hidden)
        yield matrix(f"{at}ffn_down", hidden, inner, down, gain=residual)
    yield Tensor("output_norm.weight", hidden, 0, Kind.F32, 0.1)
    yield matrix("output", g.vocab_size, hidden, head, gain=2.0)


def write_checkpoint(
    target: Path,
    geometry: Geometry,
    quantization: str,
    seed: int = 0,
    add_words: Callable[[GGUFWriter, int], None] = add_vocabulary,
) -> None:
    """Writes the file under a temporary name beside `target`, then move it there."""
    partial = target.with_name(target.name + ".partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(partial, "llama")
    _add_metadata(writer, geometry, quantization)
    add_words(writer, geometry.vocab_size)
    tensors = list(plan(geometry, quantization))
    for tensor in tensors:
        shape = (tensor.rows, tensor.columns) if tensor.columns else (tensor.rows,)
        writer.add_tensor_info(
            tensor.name, shape, np.dtype(np.float32), tensor.nbytes, raw_dtype=tensor.kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.Generator(np.random.SFC64(seed))
    for tensor in tensors:
        writer.write_tensor_data(_values(rng, tensor))
    writer.close()
    partial.replace(target)


def _values(rng: Random, tensor: Tensor) -> np.ndarray:
    if tensor.columns == 0:
        return (1 + tensor.spread * rng.standard_normal(tensor.rows)).astype(np.float32)
    data = np.empty((tensor.rows, tensor.nbytes // tensor.rows), dtype=np.uint8)
    step = max(1, (32 << 20) // data.shape[1])  # a few MB at a time: less than the tensor again
    for first in range(0, tensor.rows, step):
        rows = min(step, tensor.rows - first)
        data[first : first + rows] = random_rows(
            rng, tensor.kind, rows, tensor.columns, tensor.spread
        )
    return data


def _add_metadata(writer: GGUFWriter, geometry: Geometry, quantization: str) -> None:
    g = geometry
    writer.add_name(f"random weights, {g.num_hidden_layers} layers")
    writer.add_file_type(_FILE_TYPES[quantization])
    writer.add_quantization_version(2)
    writer.add_block_count(g.num_hidden_layers)
    writer.add_context_length(g.max_position_embeddings)
    writer.add_embedding_length(g.hidden_size)
    writer.add_feed_forward_length(g.intermediate_size)
    writer.add_head_count(g.num_attention_heads)
    writer.add_head_count_kv(g.num_key_value_heads)
    writer.add_key_length(g.head_dim)
    writer.add_value_length(g.head_dim)
    writer.add_rope_dimension_count(g.head_dim)
    writer.add_rope_freq_base(g.rope_theta)
    writer.add_layer_norm_rms_eps(g.rms_norm_eps)
    writer.add_vocab_size(g.vocab_size)


def main() -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    standard = Geometry()
    parser.add_argument("target", type=Path)
    parser.add_argument("--quantization", choices=sorted(_FILE_TYPES), default="Q4_K_M")
    parser.add_argument("--layers", type=int, default=standard.num_hidden_layers)
    parser.add_argument("--hidden-size", type=int, default=standard.hidden_size)
    parser.add_argument("--heads", type=int, default=standard.num_attention_heads)
    parser.add_argument("--kv-heads", type=int, default=standard.num_key_value_heads)
    parser.add_argument("--head-dim", type=int, default=standard.head_dim)
    parser.add_argument("--intermediate-size", type=int, default=standard.intermediate_size)
    parser.add_argument("--vocab-size", type=int, default=standard.vocab_size)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    geometry = Geometry(
        num_hidden_layers=a.layers,
        hidden_size=a.hidden_size,
        num_attention_heads=a.heads,
        num_key_value_heads=a.kv_heads,
        head_dim=a.head_dim,
        intermediate_size=a.intermediate_size,
        vocab_size=a.vocab_size,
    )
    write_checkpoint(a.target, geometry, a.quantization, a.seed)


if __name__ == "__main__":
    main()
