"""A file mapped into memory, read without copying."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cierzo.model.errors import ModelError

Bytes = npt.NDArray[np.uint8]


class MappedFile:
    """The bytes of a file, read-only; its pages come and go with their use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                if size == 0:
                    raise ModelError(f"{path}: the file is empty; fetch it again")
                self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise ModelError(
                f"{path}: cannot be read ({error.strerror}); check the path"
            ) from error
        self.bytes: Bytes = np.frombuffer(self.map, dtype=np.uint8)
        self.size = len(self.map)

    def slice(self, start: int, length: int, what: str) -> Bytes:
        """A view of `length` bytes. `what` names them in the error when the file ends before."""
        if start + length > self.size:
            raise ModelError(
                f"{self.path}: truncated: {what} needs {start + length} bytes, the file has "
                f"{self.size}; fetch it again"
            )
        return self.bytes[start : start + length]

    def release(self, view: Bytes) -> None:
        """Lets the pages under `view` leave memory. Reading it again brings them back."""
        if view.size == 0:
            return
        start = view.ctypes.data - self.bytes.ctypes.data
        first = start - start % mmap.PAGESIZE
        self.map.madvise(mmap.MADV_DONTNEED, first, start + view.size - first)
