"""Attention's kernels alone: exact sums, closeness to float64, rows that know nothing of others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from cierzo import _native
from cierzo.settings import CacheDtype

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

DTYPES: list[CacheDtype] = ["int16", "int8"]
HEAD_DIMS = [16, 64, 80, 128, 256, 512]
SPLIT = 256  # positions
BLOCK = 32
_ELEMENT = {"int16": np.int16, "int8": np.int8}
_LARGEST_VALUE = {"int16": 5400, "int8": 127}


def _cache(
    head_dim: int, dtype: CacheDtype, keys: Floats, values: Floats, first: int = 0
) -> _native.KvCache:
    positions = first + len(keys)
    cache = _native.KvCache(1, -(-positions // BLOCK), 1, head_dim, dtype)
    _native.store_positions(cache, first, keys, values)
    return cache


def _stored(
    cache: _native.KvCache, head_dim: int, dtype: CacheDtype, positions: int
) -> tuple[npt.NDArray[np.int64], Floats, npt.NDArray[np.int64], Floats]:
    """Keys [n, head_dim] and their scales [n], then values and theirs, out of the blocks' bytes."""
    parts: list[list[npt.NDArray[np.generic]]] = [[], [], [], []]
    for block in range(-(-positions // BLOCK)):
        data = np.empty(cache.block_bytes, np.uint8)
        cache.read_block(block, data)
        numbers = data[: -8 * BLOCK].view(_ELEMENT[dtype]).astype(np.int64)
        scales = data[-8 * BLOCK :].view(np.float32)
        half = BLOCK * head_dim
        keys = numbers[:half].reshape(head_dim // 2, BLOCK, 2).transpose(1, 0, 2)
        values = numbers[half:].reshape(BLOCK // 2, head_dim, 2).transpose(0, 2, 1)
        parts[0].append(keys.reshape(BLOCK, head_dim))
        parts[1].append(scales[:BLOCK])
        parts[2].append(values.reshape(BLOCK, head_dim))
        parts[3].append(scales[BLOCK:])
    k, ks, v, vs = (np.concatenate(part)[:positions] for part in parts)
    return k, ks, v, vs


def _attention(keys: Doubles, values: Doubles, query: Doubles, visible: list[int]) -> Doubles:
    """Softmax of base 2 in float64."""
    out = np.empty((len(query), keys.shape[1]))
    for row, count in enumerate(visible):
        scores = keys[:count] @ query[row]
        weights = np.exp2(scores - scores.max())
        out[row] = weights @ values[:count] / weights.sum()
    return out


def _attend(cache: _native.KvCache, query: Floats, visible: list[int], factor: float) -> Doubles:
    value, _, total = _native.attend(cache, query, visible, factor, 0, -(-max(visible) // SPLIT))
    result: Doubles = value.astype(np.float64) / total[:, None].astype(np.float64)
    return result


def _half(x: Floats) -> Doubles:
    return x.astype(np.float16).astype(np.float64)


def _rms(x: Doubles) -> float:
    return float(np.sqrt((x * x).mean()))


def _around(x: np.float32) -> list[np.float32]:
    return [np.nextafter(x, np.float32(0)), x, np.nextafter(x, np.float32(np.inf))]


def _extremes(head_dim: int, count: int) -> Floats:
    """Vectors whose integers are as large as they get: even, alternating, one alone, any."""
    rng = np.random.default_rng(head_dim)
    rows = rng.choice([-1.0, 1.0], size=(count, head_dim)) * rng.uniform(0.99, 1, (count, 1))
    rows[0] = 1
    rows[1] = -1
    rows[2] = 0
    rows[2, head_dim // 2] = 1e15
    rows[3] = rng.normal(size=head_dim)
    rows[4] = rng.normal(size=head_dim)
    rows[4, 3] = 30
    rows[5] = 3e-15
    return rows.astype(np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_products_with_keys_are_exact_sums(head_dim: int, dtype: CacheDtype) -> None:
    """A row that sees one position has its score, and nothing else, for a maximum."""
    keys = _extremes(head_dim, 12)
    for position, key in enumerate(keys):
        cache = _cache(head_dim, dtype, key[None], key[None])
        k, scales, _, _ = _stored(cache, head_dim, dtype, 1)
        query = np.concatenate([_extremes(head_dim, 12), keys[position : position + 1]])
        q, query_scales = _native.quantize_queries(cache, query)
        sums = q.astype(np.int64) @ k[0]
        assert np.abs(sums).max() < 2**31
        _, most, _ = _native.attend(cache, query, [1] * len(query), 1.0, 0, 1)
        assert np.array_equal(most, sums.astype(np.float32) * scales[0] * query_scales)
        if position < 2:
            assert (
                np.abs(sums).max() > 0.9 * {"int16": 2**31, "int8": 32767 * 127 * head_dim}[dtype]
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("positions", [1, 2, 5, 31, 32, 33, 255, 256])
def test_products_with_values_are_exact_sums(positions: int, dtype: CacheDtype) -> None:
    """Equal scores: every weight is the largest that there may be."""
    head_dim = 64
    rng = np.random.default_rng(positions)
    values = np.where(rng.random((positions, head_dim)) < 0.5, 1, -1).astype(np.float32)
    values[:, 0] = 1
    values[:, 1] = -1
    cache = _cache(head_dim, dtype, np.ones_like(values), values)
    _, _, v, _ = _stored(cache, head_dim, dtype, positions)
    assert np.abs(v).max() == _LARGEST_VALUE[dtype]
    value, _, total = _native.attend(
        cache, np.zeros((3, head_dim), np.float32), [positions] * 3, 1.0, 0, 1
    )
    assert (total == positions).all()
    # Every weight is the same integer, as large as 16 bits or the largest sum allow.
    most = min(32767, (2**31 // 5400 - 256) // positions) if dtype == "int16" else 32767
    sums = v.sum(axis=0)
    assert any(
        np.array_equal(value[0], (sums * weight).astype(np.float32) * step)
        for weight in range(most - 1, most + 2)
        for step in _around(np.float32(value[0, 0] / (sums[0] * weight)))
    )
    assert most * np.abs(sums).max() > 0.9 * min(2**31, most * positions * v.max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spread", [0.01, 1.0, 8.0])
@pytest.mark.parametrize("outlier", [1.0, 30.0])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_it_is_as_close_as_a_float16_cache(
    head_dim: int, outlier: float, spread: float, dtype: CacheDtype
) -> None:
    """16 bits lose as little as keys and values in float16 do, with all else in float64; 8 bits
    lose what 8 bits of keys and values do."""
    rng = np.random.default_rng(7)
    count = 700
    keys = rng.normal(size=(count, head_dim)).astype(np.float32)
    keys[:, 5] *= np.float32(outlier)
    values = rng.normal(size=(count, head_dim)).astype(np.float32)
    query = rng.normal(size=(12, head_dim)).astype(np.float32)
    visible = [*range(count - 11, count), 300]
    factor = spread / np.sqrt(head_dim)
    scaled = query.astype(np.float64) * factor
    want = _attention(keys.astype(np.float64), values.astype(np.float64), scaled, visible)
    cache = _cache(head_dim, dtype, keys, values)
    if dtype == "int16":
        near = _attention(_half(keys), _half(values), scaled, visible)
    else:
        k, key_scales, v, value_scales = _stored(cache, head_dim, dtype, count)
        near = _attention(
            k * key_scales.astype(np.float64)[:, None],
            v * value_scales.astype(np.float64)[:, None],
            scaled,
            visible,
        )
    bound = _rms(near - want)
    error = _rms(_attend(cache, query, visible, factor) - want)
    print(f"d {head_dim} outlier {outlier:g} spread {spread:g} {dtype}: {error / bound:.2f}")
    # Large scores, of which one number has the most part: the one place where float16 is better.
    assert error <= 1.25 * bound


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head_dim", [16, 80, 128])
def test_a_row_knows_nothing_of_others_nor_of_what_it_does_not_see(
    head_dim: int, dtype: CacheDtype
) -> None:
    rng = np.random.default_rng(3)
    keys, values = rng.normal(size=(2, 600, head_dim)).astype(np.float32)
    query = rng.normal(size=(48, head_dim)).astype(np.float32)
    visible = [1, 2, 31, 32, 33, 255, 256, 257, 300, 511, 512, 513, *range(564, 600)]
    alone = []
    for row, count in enumerate(visible):
        cache = _cache(head_dim, dtype, keys[:count], values[:count])
        alone.append(_attend(cache, query[row : row + 1], [count], 0.2)[0])
    unwritten = np.full((600, head_dim), np.nan, np.float32)
    unwritten[:, ::3] = np.inf
    cache = _cache(head_dim, dtype, unwritten, unwritten)
    _native.store_positions(cache, 0, keys[:600], values[:600])
    for rows in (48, 37, 13, 9):
        together = _attend(cache, query[-rows:], visible[-rows:], 0.2)
        assert np.array_equal(together, alone[-rows:])
    # What lies beyond a row's positions is not a number.
    for row in (0, 4, 8, 20):
        count = visible[row]
        cache = _cache(head_dim, dtype, unwritten, unwritten)
        _native.store_positions(cache, 0, keys[:count], values[:count])
        assert np.array_equal(_attend(cache, query[row : row + 1], [count], 0.2)[0], alone[row])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("what", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["query", "key", "value"])
@pytest.mark.parametrize("lane", [0, 15, 37])
@pytest.mark.parametrize("copies", [1, 4])
def test_what_is_not_finite_stays_so(
    copies: int, lane: int, where: str, what: float, dtype: CacheDtype
) -> None:
    rng = np.random.default_rng(5)
    head_dim = 64
    keys, values = rng.normal(size=(2, 300, head_dim)).astype(np.float32)
    query = rng.normal(size=(5, head_dim)).astype(np.float32)
    {"query": query[2], "key": keys[100], "value": values[100]}[where][lane] = what
    visible = [100, 101, 256, 257, 300]
    cache = _cache(head_dim, dtype, keys, values)
    finite = np.isfinite(_attend(cache, np.tile(query, (copies, 1)), visible * copies, 0.2))
    hurt = np.array(
        [row == 2 if where == "query" else count > 100 for row, count in enumerate(visible)]
        * copies
    )
    assert not finite[hurt].any()
    assert finite[~hurt].all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes_of_numbers_do_not_matter(dtype: CacheDtype) -> None:
    """From what is as good as zero to the largest floats, by powers of two."""
    head_dim = 64
    rng = np.random.default_rng(6)
    keys, values = rng.normal(size=(2, 70, head_dim)).astype(np.float32)
    query = rng.normal(size=(3, head_dim)).astype(np.float32)
    usual = _attend(_cache(head_dim, dtype, keys, values), query, [70] * 3, 0.2)
    for power in (-90, 60, 100):
        size = np.float32(2.0**power)
        cache = _cache(head_dim, dtype, keys, values * size)
        assert np.array_equal(_attend(cache, query, [70] * 3, 0.2), usual * float(size))
        cache = _cache(head_dim, dtype, keys * size, values)
        assert np.array_equal(_attend(cache, query / size, [70] * 3, 0.2), usual)
    nothing = np.full_like(keys, 1e-40)
    got = _attend(_cache(head_dim, dtype, nothing, values), query, [70] * 3, 0.2)
    np.testing.assert_allclose(got, np.tile(values.mean(axis=0), (3, 1)), atol=0.02)
    assert not _attend(_cache(head_dim, dtype, keys, nothing), query, [70] * 3, 0.2).any()
