"""A context of many splits: however many threads share it, the bits are the same."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from cierzo.settings import CacheDtype
from tests.support.checkpoints import TinyModel
from tests.support.steps import Rows, TinyRunner, random_tokens

MODEL = TinyModel(max_position_embeddings=4352)
POSITIONS = 4200  # 17 splits
TOKENS = random_tokens(MODEL, POSITIONS)
BLOCKS = range(-(-POSITIONS // 32))


@cache
def last_rows(threads: int, dtype: CacheDtype) -> npt.NDArray[np.float32]:
    """Logits of the last three tokens, the first two of them together."""
    runner = TinyRunner(MODEL, threads=threads, kv_cache_dtype=dtype, num_blocks=len(BLOCKS))
    runner.prompt(TOKENS[:-3], chunk=1000, blocks=BLOCKS)
    two = runner.run(Rows(TOKENS[-3:-1], POSITIONS - 3, BLOCKS))
    return np.concatenate([two, runner.run(Rows(TOKENS[-1:], POSITIONS - 1, BLOCKS))])


@pytest.mark.parametrize("dtype", ["int16", "int8"])
@pytest.mark.parametrize("threads", [2, 3, 8, 40])
def test_threads_share_it(threads: int, dtype: CacheDtype) -> None:
    assert np.array_equal(last_rows(threads, dtype), last_rows(1, dtype))
