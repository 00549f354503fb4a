"""Steps of a model that has one sequence, in cache blocks from the first on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cierzo.backends.batch import Batch

Ids = npt.NDArray[np.int32]


def step_of(tokens: Ids, position: int, block_size: int, rows: npt.NDArray[np.int64]) -> Batch:
    """The step of these tokens, the first at `position`, with logits of `rows` of them."""
    count = len(tokens)
    end = position + count
    return Batch(
        token_ids=tokens,
        positions=np.arange(position, end, dtype=np.int32),
        query_start=np.array([0, count], dtype=np.int32),
        context_len=np.array([end], dtype=np.int32),
        block_tables=np.arange(-(-end // block_size), dtype=np.int32)[None],
        logits_rows=rows.astype(np.int32),
    )
