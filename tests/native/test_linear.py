"""Products with packed weights: values against float64, and the same bits however work is cut."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from cierzo import _native
from cierzo.backends.tensor import StorageType
from tests.support.quantise import quantise, stored

Floats = npt.NDArray[np.float32]

_FLOATS = (StorageType.F32, StorageType.F16, StorageType.BF16)
_K_TYPES = (StorageType.Q4_K, StorageType.Q5_K, StorageType.Q6_K)
_ALL = tuple(StorageType)
_QUANTISED = tuple(storage for storage in _ALL if storage not in _FLOATS)


def _shapes(storage: StorageType) -> list[tuple[int, int]]:
    if storage in _K_TYPES:
        return [(16, 256), (37, 768), (5, 5120)]
    return [(1, 32), (16, 64), (37, 576), (50, 2080)]  # from 2,048 columns on in AMX's tiles


_CASES = [(storage, *shape) for storage in _ALL for shape in _shapes(storage)]


def _weights(storage: StorageType, rows: int, cols: int) -> Floats:
    values = np.random.default_rng(rows * cols).normal(size=(rows, cols)).astype(np.float32)
    # Rows of different size, so that a scale taken from the wrong row shows.
    return values * np.geomspace(0.01, 10, rows, dtype=np.float32)[:, None]


def _inputs(tokens: int, cols: int) -> Floats:
    return np.random.default_rng(tokens).normal(size=(tokens, cols)).astype(np.float32)


def _pack(values: Floats, storage: StorageType) -> _native.PackedWeight:
    raw = _raw(values, storage)
    return _native.pack(raw, str(storage), *values.shape)


def _raw(values: Floats, storage: StorageType) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(quantise(values, storage)).view(np.uint8).reshape(-1)


def _rounded(x: Floats) -> npt.NDArray[np.float64]:
    """What the kernels make of activations: int8 by group of 32, scale absmax / 127."""
    groups = x.reshape(len(x), -1, 32)
    absmax = np.abs(groups).max(axis=2, keepdims=True)
    inverse = np.float32(127) / np.where(absmax > 0, absmax, np.float32(1))
    q = np.rint(groups * inverse)
    scale = absmax * np.float32(1 / 127)
    values: npt.NDArray[np.float64] = q.astype(np.float64) * scale
    return values.reshape(x.shape)


def _assert_product(got: Floats, x: npt.NDArray[np.float64], weights: Floats) -> None:
    """Within float32 rounding of the sum of magnitudes."""
    exact = x @ weights.astype(np.float64).T
    magnitude = np.abs(x) @ np.abs(weights.astype(np.float64)).T
    assert np.all(np.abs(got - exact) <= 1e-6 * magnitude + 1e-30)


@pytest.mark.parametrize(("storage", "rows", "cols"), _CASES)
def test_rows_come_back_exactly(storage: StorageType, rows: int, cols: int) -> None:
    values = _weights(storage, rows, cols)
    packed = _pack(values, storage)
    back = np.stack([_native.dequantize_row(packed, row) for row in range(rows)])
    assert np.array_equal(back, stored(values, storage))


@pytest.mark.parametrize("storage", _ALL)
def test_memory_is_close_to_the_file(storage: StorageType) -> None:
    values = _weights(storage, 64, 1024)
    assert _pack(values, storage).nbytes <= 1.05 * _raw(values, storage).size


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 7, 9, 20, 33])
@pytest.mark.parametrize(("storage", "rows", "cols"), _CASES)
def test_product(storage: StorageType, rows: int, cols: int, tokens: int) -> None:
    values = _weights(storage, rows, cols)
    x = _inputs(tokens, cols)
    seen = x.astype(np.float64) if storage in _FLOATS else _rounded(x)
    _assert_product(_native.product(_pack(values, storage), x), seen, stored(values, storage))


@pytest.mark.parametrize("storage", _ALL)
def test_bits_do_not_depend_on_the_cut(storage: StorageType) -> None:
    rows, cols, tokens = 83, 2304, 300
    packed = _pack(_weights(storage, rows, cols), storage)
    x = _inputs(tokens, cols)
    whole = _native.product(packed, x)
    for block_step, token_step in [(1, 512), (2, 17), (3, 8), (512, 1), (512, 5), (1, 3)]:
        cut = _native.product(packed, x, block_step=block_step, token_step=token_step)
        assert np.array_equal(cut.view(np.int32), whole.view(np.int32))


@pytest.mark.parametrize("storage", _QUANTISED)
@pytest.mark.parametrize("tokens", [1, 3, 40])
@pytest.mark.parametrize("cols", [768, 2304])
def test_two_planes_are_nearly_exact(storage: StorageType, tokens: int, cols: int) -> None:
    values = _weights(storage, 37, cols)
    x = _inputs(tokens, cols)
    exact = x.astype(np.float64) @ stored(values, storage).astype(np.float64).T
    magnitude = np.abs(x) @ np.abs(values).T
    packed = _pack(values, storage)
    fine = np.abs(_native.product(packed, x, planes=2) - exact)
    coarse = np.abs(_native.product(packed, x) - exact)
    assert np.all(fine <= 2e-5 * magnitude)
    assert fine.mean() < coarse.mean() / 30
    apart = [_native.product(packed, x[t : t + 1], planes=2)[0] for t in range(tokens)]
    assert np.array_equal(_native.product(packed, x, planes=2), np.stack(apart))


@pytest.mark.parametrize("storage", [StorageType.Q8_0, StorageType.Q5_1, StorageType.Q4_0])
@pytest.mark.parametrize("tokens", [10, 40])
@pytest.mark.parametrize("cols", [64, 2048])
def test_largest_numbers_do_not_saturate(storage: StorageType, tokens: int, cols: int) -> None:
    values = np.ones((33, cols), dtype=np.float32)
    values[1::2] = -1
    values[2::4, ::2] = -1
    for signs in ([1], [-1], [1, -1], [1, 1, -1, -1]):
        x = np.repeat(np.resize(signs, cols).astype(np.float32)[None] * 127, tokens, axis=0)
        _assert_product(
            _native.product(_pack(values, storage), x),
            x.astype(np.float64),
            stored(values, storage),
        )


@pytest.mark.parametrize("storage", _ALL)
@pytest.mark.parametrize("tokens", [1, 12])
def test_zeros(storage: StorageType, tokens: int) -> None:
    values = _weights(storage, 20, 256)
    packed = _pack(values, storage)
    assert not _native.product(packed, np.zeros((tokens, 256), dtype=np.float32)).any()
    packed = _pack(np.zeros_like(values), storage)
    assert not _native.product(packed, _inputs(tokens, 256)).any()


@pytest.mark.parametrize("storage", [StorageType.Q8_0, StorageType.Q4_0, StorageType.Q4_1])
@pytest.mark.parametrize("size", [1e-6, 1e-4])
def test_subnormal_scales(storage: StorageType, size: float) -> None:
    values = _weights(storage, 16, 64) * np.float32(size)
    x = _inputs(9, 64)
    _assert_product(
        _native.product(_pack(values, storage), x), _rounded(x), stored(values, storage)
    )


@pytest.mark.parametrize("storage", [StorageType.Q4_1, StorageType.Q6_K])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_shows_in_its_own_row(storage: StorageType, bad: float) -> None:
    values = _weights(storage, 20, 256)
    x = _inputs(9, 256)
    clean = _native.product(_pack(values, storage), x)
    x[4, 100] = bad
    got = _native.product(_pack(values, storage), x)
    assert not np.isfinite(got[4]).any()
    assert np.array_equal(np.delete(got, 4, axis=0), np.delete(clean, 4, axis=0))


@pytest.mark.parametrize(("wanted", "error"), [("q8_0", 0.006), ("q4_1", 0.1)])
@pytest.mark.parametrize("storage", _FLOATS)
def test_float_matrices_can_be_made_smaller(
    storage: StorageType, wanted: str, error: float
) -> None:
    values = np.random.default_rng(0).normal(size=(40, 320)).astype(np.float32)
    packed = _native.quantize(_raw(values, storage), str(storage), 40, 320, wanted)
    assert packed.layout == wanted
    back = np.stack([_native.dequantize_row(packed, row) for row in range(40)])
    assert np.sqrt(np.mean((back - values) ** 2)) < error


def test_wrong_sizes_are_refused() -> None:
    raw = np.zeros(18, dtype=np.uint8)
    with pytest.raises(ValueError, match="does not take 18 bytes"):
        _native.pack(raw, "q4_0", 2, 32)
    with pytest.raises(ValueError, match="no storage type called q3"):
        _native.pack(raw, "q3", 1, 32)
    packed = _native.pack(raw, "q4_0", 1, 32)
    with pytest.raises(ValueError, match="width"):
        _native.product(packed, np.zeros((1, 64), dtype=np.float32))
    with pytest.raises(IndexError):
        _native.dequantize_row(packed, 1)
