"""Our logits for whole prompts, from the model runner that the server uses."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cierzo.backends.cpu.backend import CpuBackend

from benchmarks.reference import Floats, Tokens
from cierzo.backends.batch import Batch
from cierzo.model.checkpoint import open_checkpoint
from cierzo.model.runner import ModelRunner

_BLOCK_SIZE = 32
_CHUNK = 64  # rows of logits a step


def prompt_logits(model: Path, tokens: Tokens, threads: int) -> Iterator[Floats]:
    """Yield the logits [T, V] of each window of `tokens` [W, T], prefilled in chunks."""
    length = tokens.shape[1]
    blocks = -(-length // _BLOCK_SIZE)
    runner = ModelRunner(
        open_checkpoint(model),
        CpuBackend(threads=threads),
        num_blocks=blocks,
        block_size=_BLOCK_SIZE,
        kv_cache_dtype="f16",
        max_batch_tokens=_CHUNK,
        max_batch_sequences=1,
        max_model_len=length,
        quantize=None,
    )
    table = np.arange(blocks, dtype=np.int32)[None]
    for window in tokens:
        parts = []
        for first in range(0, length, _CHUNK):
            ids = np.ascontiguousarray(window[first : first + _CHUNK])
            rows = np.arange(len(ids), dtype=np.int32)
            batch = Batch(
                token_ids=ids,
                positions=rows + np.int32(first),
                query_start=np.array([0, len(ids)], dtype=np.int32),
                context_len=np.array([first + len(ids)], dtype=np.int32),
                block_tables=table,
                logits_rows=rows,
            )
            parts.append(runner.run(batch).copy())
        yield np.concatenate(parts)
