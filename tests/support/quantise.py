"""Float weights to GGUF's storage types and back: gguf's own code, and the k-quants it lacks.

The k-quants here round each group to its nearest level. llama.cpp searches for better scales,
but the bytes mean the same.
"""

from __future__ import annotations

import gguf
import numpy as np
import numpy.typing as npt

from cierzo.backends.tensor import StorageType

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

GGML_TYPES = {storage: gguf.GGMLQuantizationType[storage.name] for storage in StorageType}


def quantise(values: Floats, storage: StorageType) -> Bytes:
    """Bytes of a tensor [..., cols] stored as `storage`: [..., bytes of a row]."""
    makers = {StorageType.Q4_K: _q4_k, StorageType.Q5_K: _q5_k, StorageType.Q6_K: _q6_k}
    if storage not in makers:
        return gguf.quantize(values, GGML_TYPES[storage]).view(np.uint8)
    blocks = makers[storage](values.reshape(-1, 256))
    return blocks.reshape(*values.shape[:-1], -1)


def stored(values: Floats, storage: StorageType) -> Floats:
    """What a reader must get back after `values` went through `storage`: the same shape."""
    if storage is StorageType.F32:
        return values
    result: Floats = gguf.dequantize(quantise(values, storage), GGML_TYPES[storage])
    return result.reshape(values.shape)


def _halves(values: Floats) -> Bytes:
    """float16 bytes [n, 2] of n scales."""
    halves: Bytes = values.astype(np.float16).reshape(-1, 1).view(np.uint8)
    return halves


def _levels(groups: Floats, top: int) -> tuple[Bytes, Bytes, Bytes, Bytes, Bytes]:
    """Rounds groups [n, 8, 32] to scale * q - minimum with q in 0..top.

    Returns the float16 bytes of d and dmin, the 6-bit scales and minimums [n, 8], and q.
    """
    low = np.minimum(groups.min(axis=2), 0)
    step = (groups.max(axis=2) - low) / top
    d = (step.max(axis=1) / 63).astype(np.float16).astype(np.float32)
    dmin = (-low.min(axis=1) / 63).astype(np.float16).astype(np.float32)
    scale = np.clip(np.rint(step / np.where(d, d, 1)[:, None]), 0, 63)
    minimum = np.clip(np.rint(-low / np.where(dmin, dmin, 1)[:, None]), 0, 63)
    width = (d[:, None] * scale)[:, :, None]
    q = (groups + (dmin[:, None] * minimum)[:, :, None]) / np.where(width, width, 1)
    q = np.clip(np.rint(q), 0, top)
    scales, minimums, levels = (x.astype(np.uint8) for x in (scale, minimum, q))
    return _halves(d), _halves(dmin), scales, minimums, levels


def _pack_scales(scale: Bytes, minimum: Bytes) -> Bytes:
    """Eight 6-bit scales and minimums in 12 bytes, laid out as ggml's get_scale_min_k4 reads."""
    first = scale[:, :4] | (scale[:, 4:] >> 4 << 6)
    second = minimum[:, :4] | (minimum[:, 4:] >> 4 << 6)
    third = (scale[:, 4:] & 15) | (minimum[:, 4:] << 4)
    return np.concatenate([first, second, third], axis=1)


def _nibbles(q: Bytes) -> Bytes:
    """[n, 8, 32] to 128 bytes a block: groups 2i in the low and 2i+1 in the high half."""
    low, high = q[:, 0::2] & np.uint8(15), q[:, 1::2] << np.uint8(4)
    return (low | high).reshape(len(q), 128)


def _q4_k(blocks: Floats) -> Bytes:
    d, dmin, scale, minimum, q = _levels(blocks.reshape(-1, 8, 32), 15)
    return np.concatenate([d, dmin, _pack_scales(scale, minimum), _nibbles(q)], axis=1)


def _q5_k(blocks: Floats) -> Bytes:
    d, dmin, scale, minimum, q = _levels(blocks.reshape(-1, 8, 32), 31)
    shifts = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    high = np.bitwise_or.reduce((q >> 4) << shifts, axis=1)
    return np.concatenate([d, dmin, _pack_scales(scale, minimum), high, _nibbles(q)], axis=1)


def _q6_k(blocks: Floats) -> Bytes:
    groups = blocks.reshape(-1, 16, 16)
    step = np.abs(groups).max(axis=2) / 31
    d = (step.max(axis=1) / 127).astype(np.float16).astype(np.float32)
    scale = np.rint(step / np.where(d, d, 1)[:, None])
    width = (d[:, None] * scale)[:, :, None]
    q = np.clip(np.rint(groups / np.where(width, width, 1)), -32, 31)
    # Each half of 128 lies in four runs of 32: two share the low bytes, all four the high bits.
    runs = (q + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = (runs[:, :, :2] & 15) | (runs[:, :, 2:] << 4)
    shifts = np.array([0, 2, 4, 6], dtype=np.uint8).reshape(1, 1, 4, 1)
    high = np.bitwise_or.reduce((runs >> 4) << shifts, axis=2)
    parts = [low.reshape(-1, 128), high.reshape(-1, 64), scale.astype(np.int8).view(np.uint8)]
    return np.concatenate([*parts, _halves(d)], axis=1)
