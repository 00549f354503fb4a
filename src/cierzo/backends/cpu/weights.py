"""Lays out a checkpoint's matrix for the CPU kernels."""

from __future__ import annotations

from cierzo import _native
from cierzo.backends.tensor import RawTensor, StorageType
from cierzo.settings import Quantization

_FLOATS = (StorageType.F32, StorageType.F16, StorageType.BF16)
_QUANTIZED: dict[Quantization, StorageType] = {"w8": StorageType.Q8_0, "w4": StorageType.Q4_1}


def pack(
    raw: RawTensor, threads: int, quantize: Quantization | None = None
) -> _native.PackedWeight:
    """Packs a matrix, value for value; float matrices to 8 or 4 bits if `quantize` is given.

    Raises ValueError naming the tensor when its rows do not fit the type's blocks.
    """
    rows, cols = raw.shape
    storage = _QUANTIZED[quantize] if quantize else raw.storage
    try:
        if storage is not raw.storage and raw.storage in _FLOATS:
            return _native.quantize(raw.data, str(raw.storage), rows, cols, str(storage), threads)
        return _native.pack(raw.data, str(raw.storage), rows, cols, threads)
    except ValueError as error:
        raise ValueError(f"tensor {raw.name} in {raw.file.name}: {error}") from None
