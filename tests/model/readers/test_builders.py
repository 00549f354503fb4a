"""The builders of checkpoints themselves: their numbers are near, exact, and the same each time."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from cierzo.backends.tensor import StorageType
from tests.support.checkpoints import TinyModel, random_weights, write_gguf
from tests.support.quantise import GGML_TYPES, quantise, stored
from tests.support.tokenizers import bpe_vocabulary, tekken_vocabulary

# The largest error of each type, as a share of the largest value of a row.
ERRORS = {
    StorageType.F32: 0.0,
    StorageType.F16: 0.001,
    StorageType.BF16: 0.005,
    StorageType.Q8_0: 0.006,
    StorageType.Q6_K: 0.04,
    StorageType.Q5_1: 0.05,
    StorageType.Q5_0: 0.07,
    StorageType.Q5_K: 0.06,
    StorageType.Q4_1: 0.08,
    StorageType.Q4_0: 0.15,
    StorageType.Q4_K: 0.1,
}


@pytest.mark.parametrize("storage", list(StorageType))
def test_each_type_keeps_the_values_nearly(storage: StorageType) -> None:
    values = np.random.default_rng(0).normal(size=(16, 512)).astype(np.float32)
    error = np.abs(stored(values, storage) - values).max() / np.abs(values).max()
    assert error <= ERRORS[storage]
    assert quantise(values, storage).shape == (
        16,
        512 // storage.block_size * storage.block_bytes,
    )


@pytest.mark.parametrize("storage", [StorageType.F32, StorageType.F16, StorageType.BF16])
def test_random_weights_are_exact_in_every_float_type(storage: StorageType) -> None:
    for name, values in random_weights(TinyModel()).items():
        np.testing.assert_array_equal(stored(values, storage), values, err_msg=name)


@pytest.mark.parametrize("storage", [StorageType.Q4_K, StorageType.Q5_K, StorageType.Q6_K])
def test_a_row_of_zeros_stays_zero(storage: StorageType) -> None:
    assert not stored(np.zeros((2, 256), np.float32), storage).any()


def test_the_same_seed_writes_the_same_file(tmp_path: Path) -> None:
    first = write_gguf(tmp_path / "a.gguf", seed=5).read_bytes()
    assert write_gguf(tmp_path / "b.gguf", seed=5).read_bytes() == first
    assert write_gguf(tmp_path / "c.gguf", seed=6).read_bytes() != first


def test_gguf_reads_the_files_back(tmp_path: Path) -> None:
    reader = gguf.GGUFReader(write_gguf(tmp_path / "m.gguf", None, StorageType.Q5_K))
    assert {t.tensor_type for t in reader.tensors} == {
        GGML_TYPES[StorageType.Q5_K],
        GGML_TYPES[StorageType.F32],
    }


@pytest.mark.parametrize("vocabulary", [bpe_vocabulary, tekken_vocabulary])
def test_every_merge_makes_a_token(vocabulary: object) -> None:
    assert callable(vocabulary)
    tokens, merges = vocabulary()
    known = set(tokens)
    for merge in merges:
        left, right = merge.split(" ")
        assert {left, right, left + right} <= known
