"""Blocks of the KV cache to files and back, and the digest that tells of a change."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cierzo import _native
from cierzo.backends.cpu.identity import digest_of_file

LAYERS, BLOCKS = 3, 4


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    number = os.open(tmp_path / "blocks", os.O_RDWR | os.O_CREAT)
    yield number
    os.close(number)


def cache_of(dtype: str) -> _native.KvCache:
    """A cache whose blocks all hold something else."""
    cache = _native.KvCache(layers=LAYERS, blocks=BLOCKS, kv_heads=2, head_dim=32, dtype=dtype)
    rng = np.random.default_rng(1)
    for block in range(BLOCKS):
        cache.write_block(block, rng.integers(0, 256, cache.block_bytes, dtype=np.uint8))
    return cache


def contents(cache: _native.KvCache, block: int) -> bytes:
    out = np.empty(cache.block_bytes, dtype=np.uint8)
    cache.read_block(block, out)
    return out.tobytes()


@pytest.mark.parametrize("dtype", ["int16", "int8"])
def test_a_block_comes_back_as_it_was(file: int, dtype: str) -> None:
    cache = cache_of(dtype)
    before = [contents(cache, block) for block in range(BLOCKS)]
    saved = cache.save_block(1, file, 8_192)
    assert os.pread(file, cache.block_bytes, 8_192) == before[1]
    assert cache.load_block(3, file, 8_192) == saved
    after = [contents(cache, block) for block in range(BLOCKS)]
    assert after == [before[0], before[1], before[2], before[1]]
    assert digest_of_file(file, 8_192, cache.block_bytes, LAYERS) == saved
    assert digest_of_file(file, 8_193, cache.block_bytes, LAYERS) is None  # it ends before


def test_every_flipped_byte_of_a_block_is_seen(file: int) -> None:
    cache = cache_of("int8")
    saved = cache.save_block(0, file, 0)
    for place in range(0, cache.block_bytes, 7):
        byte = os.pread(file, 1, place)
        os.pwrite(file, bytes([byte[0] ^ 1 << place % 8]), place)
        assert cache.load_block(1, file, 0) != saved
        os.pwrite(file, byte, place)
    assert cache.load_block(1, file, 0) == saved


@pytest.mark.parametrize("length", [0, 1, 8, 31, 32, 33, 64, 200])
def test_digests_differ_for_bytes_that_differ(length: int) -> None:
    data = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8)
    longer = np.append(data, np.uint8(0))
    seen = {_native.digest(some, seed) for some in (data, longer) for seed in (0, 1)}
    for place in range(8 * length):
        changed = data.copy()
        changed[place // 8] ^= 1 << place % 8
        seen.add(_native.digest(changed))
    assert len(seen) == 4 + 8 * length
    assert _native.digest(data) == _native.digest(data.copy())


def test_no_two_flipped_bits_undo_each_other() -> None:
    """Not even the highest of one word and one of the word that is taken in next."""
    data = np.random.default_rng(1).integers(0, 256, 192, dtype=np.uint8)
    plain = _native.digest(data)
    for first in range(0, 8 * 64):
        for second in range(8 * 64, 8 * 192, 1 if first % 64 == 63 else 37):
            changed = data.copy()
            changed[first // 8] ^= 1 << first % 8
            changed[second // 8] ^= 1 << second % 8
            assert _native.digest(changed) != plain


def test_what_cannot_be_read_or_written_is_an_os_error(file: int) -> None:
    cache = cache_of("int16")
    with pytest.raises(OSError, match="Input/output") as ended:
        cache.load_block(0, file, 0)
    assert ended.value.errno == errno.EIO
    with pytest.raises(OSError, match="Bad file") as closed:
        cache.save_block(0, 9_999, 0)
    assert closed.value.errno == errno.EBADF
    for block in (-1, BLOCKS):
        with pytest.raises(ValueError, match="no block"):
            cache.save_block(block, file, 0)
