"""What the CPU backend takes of memory, known before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Iterable

from cierzo import _native
from cierzo.backends.tensor import RawTensor, StorageType
from cierzo.settings import CacheDtype, Quantization

BLOCK_SIZE: int = _native.CACHE_BLOCK_POSITIONS  # positions in a block of the KV cache
# Layouts are at most this much larger than the file's bytes.
WEIGHTS_FACTOR = 1.05
# Bytes a number takes once quantized on load: its bits, and a 16-bit scale for each 32.
_QUANTIZED: dict[Quantization, float] = {"w8": 8.5 / 8, "w4": 4.5 / 8}
_FLOATS = (StorageType.F32, StorageType.F16, StorageType.BF16)


def cache_block_bytes(num_layers: int, num_kv_heads: int, head_dim: int, dtype: CacheDtype) -> int:
    """Bytes of one cache block over all layers.

    int16: 2 bytes a number; int8: 1. Both: a float32 scale a head and position.
    """
    per_head = {"int16": 2 * head_dim + 4, "int8": head_dim + 4}[dtype]
    return 2 * num_layers * BLOCK_SIZE * num_kv_heads * per_head


def weights_bytes(tensors: Iterable[RawTensor], quantize: Quantization | None) -> int:
    """Bytes of all weights, an upper bound."""
    total = 0.0
    for tensor in tensors:
        size = float(tensor.data.size)
        if quantize and len(tensor.shape) > 1 and tensor.storage in _FLOATS:
            size = min(size, math.prod(tensor.shape) * _QUANTIZED[quantize])
        total += size
    return int(total * WEIGHTS_FACTOR)


def scratch_bytes(widths: int, max_tokens: int, max_sequences: int, vocab_size: int) -> int:
    """Bytes of a step's buffers: activations in float32, logits, and the sampler's row.

    `widths` is how many numbers the activations of one token have.
    """
    rows = max(max_sequences * vocab_size, _native.LOGITS_ROOM) + 4 * vocab_size
    return 4 * (max_tokens * widths + rows)
