"""Random rows of GGUF's quantised blocks: valid bytes whose values have a given spread.

Quantising random floats would take hours for 24B parameters. Here the quants are random bytes and
the scales are set so that the weights have mean near zero and the wanted standard deviation.
Layouts: ggml's `block_q4_K` and so on, as `gguf.quants` reads them.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

Bytes = npt.NDArray[np.uint8]
Random = np.random.Generator

_NIBBLE_SPREAD = np.sqrt((16**2 - 1) / 12)  # of 0..15, all equally likely
_SIX_BIT_SPREAD = np.sqrt((64**2 - 1) / 12)
_BYTE_SPREAD = np.sqrt((256**2 - 1) / 12)
_MEAN_SUBSCALE = 47.5  # of 32..63


def _random_bytes(rng: Random, blocks: int, count: int) -> Bytes:
    return np.frombuffer(rng.bytes(blocks * count), dtype=np.uint8).reshape(blocks, count)


def _half(value: float, blocks: int) -> Bytes:
    return np.full((blocks, 1), value, dtype="<f2").view(np.uint8)


def _signed_half(rng: Random, value: float, blocks: int) -> Bytes:
    """Random signs: the small bias of a code with more negative than positive values cancels."""
    signs = rng.integers(0, 2, (blocks, 1)) * 2 - 1
    return (signs * value).astype("<f2").view(np.uint8)


def _q4_0(rng: Random, blocks: int, spread: float) -> Bytes:
    scale = spread / _NIBBLE_SPREAD
    return np.hstack([_signed_half(rng, scale, blocks), _random_bytes(rng, blocks, 16)])


def _q4_1(rng: Random, blocks: int, spread: float) -> Bytes:
    scale = spread / _NIBBLE_SPREAD
    head = [_half(scale, blocks), _half(-7.5 * scale, blocks)]
    return np.hstack([*head, _random_bytes(rng, blocks, 16)])


def _q8_0(rng: Random, blocks: int, spread: float) -> Bytes:
    scale = spread / _BYTE_SPREAD
    return np.hstack([_signed_half(rng, scale, blocks), _random_bytes(rng, blocks, 32)])


def _q4_k(rng: Random, blocks: int, spread: float) -> Bytes:
    """Eight groups of 32 with 6-bit scale s and minimum m = s: weight = d s (q - 7.5)."""
    scale = spread / (_NIBBLE_SPREAD * _MEAN_SUBSCALE)
    sub = rng.integers(32, 64, (blocks, 8), dtype=np.uint8)
    low, high = sub[:, :4], sub[:, 4:]
    packed = np.hstack(
        [low | (high >> 4) << 6, low | (high >> 4) << 6, high & 15 | (high & 15) << 4]
    )
    head = [_half(scale, blocks), _half(7.5 * scale, blocks), packed]
    return np.hstack([*head, _random_bytes(rng, blocks, 128)])


def _q6_k(rng: Random, blocks: int, spread: float) -> Bytes:
    """Sixteen groups of 16 with an int8 scale s of either sign: weight = d s (q - 32)."""
    scale = spread / (_SIX_BIT_SPREAD * _MEAN_SUBSCALE)
    signs = rng.integers(0, 2, (blocks, 16), dtype=np.int8) * 2 - 1
    sub = (rng.integers(32, 64, (blocks, 16), dtype=np.int8) * signs).astype(np.int8)
    quants = _random_bytes(rng, blocks, 128 + 64)
    return np.hstack([quants, sub.view(np.uint8), _half(scale, blocks)])


_MAKERS: dict[GGMLQuantizationType, Callable[[Random, int, float], Bytes]] = {
    GGMLQuantizationType.Q4_0: _q4_0,
    GGMLQuantizationType.Q4_1: _q4_1,
    GGMLQuantizationType.Q8_0: _q8_0,
    GGMLQuantizationType.Q4_K: _q4_k,
    GGMLQuantizationType.Q6_K: _q6_k,
}


def random_rows(
    rng: Random, kind: GGMLQuantizationType, rows: int, columns: int, spread: float
) -> Bytes:
    """Uint8 [rows, bytes of a row]: weights of `kind` with standard deviation `spread`."""
    block_length, block_bytes = GGML_QUANT_SIZES[kind]
    if columns % block_length:
        raise ValueError(f"{kind.name} needs rows of a multiple of {block_length}, not {columns}")
    if kind not in _MAKERS:
        known = ", ".join(sorted(k.name for k in _MAKERS))
        raise ValueError(f"no random blocks for {kind.name}; choose one of {known}")
    blocks = _MAKERS[kind](rng, rows * (columns // block_length), spread)
    return blocks.reshape(rows, columns // block_length * block_bytes)
