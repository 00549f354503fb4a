"""What of the CPU and of the weights on it enters the bits that it computes."""

from __future__ import annotations

import hashlib
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cierzo import _native
from cierzo.backends.ops import AttentionShape, CacheShape
from cierzo.backends.tensor import RawTensor
from cierzo.settings import Quantization

_CHUNK_BYTES = 1 << 23  # whose digest one thread makes
# Of what a processor can do, what libraries choose their code by.
_CHOSEN_BY = re.compile(r"(avx|fma|sse|ssse|f16c|bmi|amx|asimd|sve|fp)\w*")


class Identity:
    """Grows with what is laid out, in the order of that."""

    def __init__(self, attention: AttentionShape, cache: CacheShape, threads: int) -> None:
        self._threads = threads
        self._hash = hashlib.blake2b(digest_size=32)
        self._add(cache.num_layers, cache.block_size, cache.dtype)
        heads = attention.num_heads, attention.num_kv_heads, attention.head_dim
        self._add(*heads, attention.rope_scale, attention.rope_interleaved)
        self._hash.update(attention.inv_freq.tobytes())

    def add(self, raw: RawTensor, quantize: Quantization | None = None) -> None:
        """A tensor, with all of its bytes: they are read for laying it out in any case."""
        data = raw.data.reshape(-1)
        chunks = [data[at : at + _CHUNK_BYTES] for at in range(0, data.size, _CHUNK_BYTES)]
        if len(chunks) > 1 and self._threads > 1:
            with ThreadPoolExecutor(self._threads) as pool:
                digests = list(pool.map(_native.digest, chunks))
        else:
            digests = list(map(_native.digest, chunks))
        self._add(raw.storage, raw.shape, quantize, data.size, digests)

    def digest(self) -> bytes:
        """Names all of it, and what computes with it."""
        named = self._hash.copy()
        named.update(repr((_native.active_isa(), _library(), _features(), _libc())).encode())
        return named.digest()

    def _add(self, *parts: object) -> None:
        self._hash.update(f"{parts!r}\n".encode())


def digest_of_file(number: int, offset: int, num_bytes: int, parts: int) -> int | None:
    """The digest of a block that was saved in a file; None if it cannot be read."""
    digest = 0
    for part in range(parts):
        size = num_bytes // parts
        try:
            data = os.pread(number, size, offset + part * size)
        except OSError:
            return None
        if len(data) != size:
            return None
        digest = _native.digest(np.frombuffer(data, np.uint8), digest)
    return digest


def _library() -> str:
    """The code of the kernels, and whatever the compiler made of it."""
    return hashlib.sha256(Path(_native.__file__).read_bytes()).hexdigest()


def _features() -> list[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return []
    line = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return sorted(filter(_CHOSEN_BY.fullmatch, line[1].split())) if line else []


def _libc() -> str:
    """Which cosines there are. Where there is no GNU libc they come with the system."""
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names:
        return " ".join(os.uname())
    return os.confstr("CS_GNU_LIBC_VERSION") or ""
