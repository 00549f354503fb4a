"""A weight as it lies in a checkpoint file: name, shape, storage type and the raw bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt


class StorageType(StrEnum):
    """How a checkpoint stores numbers. Quantised types are GGUF's blocks, byte for byte."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    Q4_0 = "q4_0"
    Q4_1 = "q4_1"
    Q5_0 = "q5_0"
    Q5_1 = "q5_1"
    Q4_K = "q4_k"
    Q5_K = "q5_k"
    Q6_K = "q6_k"

    @property
    def block_size(self) -> int:
        """Numbers in one block; a row's length must be a multiple of it."""
        return _BLOCKS[self][0]

    @property
    def block_bytes(self) -> int:
        """Bytes in one block."""
        return _BLOCKS[self][1]


# Type -> (numbers in a block, bytes in a block). Sizes are ggml's.
_BLOCKS = {
    StorageType.F32: (1, 4),
    StorageType.F16: (1, 2),
    StorageType.BF16: (1, 2),
    StorageType.Q8_0: (32, 34),
    StorageType.Q4_0: (32, 18),
    StorageType.Q4_1: (32, 20),
    StorageType.Q5_0: (32, 22),
    StorageType.Q5_1: (32, 24),
    StorageType.Q4_K: (256, 144),
    StorageType.Q5_K: (256, 176),
    StorageType.Q6_K: (256, 210),
}


@dataclass(frozen=True)
class RawTensor:
    """One tensor of a checkpoint, not yet laid out for a device.

    `data` is a read-only uint8 view of the file's own pages, `shape` is row-major
    (output features first), so `shape[-1]` numbers make a row.
    """

    name: str
    shape: tuple[int, ...]
    storage: StorageType
    data: npt.NDArray[np.uint8]
    file: Path
