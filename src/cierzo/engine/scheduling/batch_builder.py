"""Turns the scheduler's chunks into the arrays of a step, changing only what changed.

Legend: T tokens in the step, S sequences, B blocks of the longest possible sequence, L rows of
logits.
"""

from __future__ import annotations

import numpy as np

from cierzo.backends.batch import Batch
from cierzo.engine.scheduling.scheduler import Chunk


class BatchBuilder:
    """Owns the arrays of the step; a batch is good until the next one is built."""

    def __init__(
        self,
        *,
        block_size: int,
        max_batch_tokens: int,
        max_batch_sequences: int,
        max_model_len: int,
    ) -> None:
        self._token_ids = np.zeros(max_batch_tokens, dtype=np.int32)  # [T]
        self._positions = np.zeros(max_batch_tokens, dtype=np.int32)  # [T]
        self._query_start = np.zeros(max_batch_sequences + 1, dtype=np.int32)  # [S + 1]
        self._context_len = np.zeros(max_batch_sequences, dtype=np.int32)  # [S]
        blocks = -(-max_model_len // block_size)
        self._tables = np.full((max_batch_sequences, blocks), -1, dtype=np.int32)  # [S, B]
        # What each row of the tables shows: a sequence's list of blocks, and how many of it.
        self._shown: list[list[int]] = [[] for _ in range(max_batch_sequences)]
        self._num_shown = [0] * max_batch_sequences
        self._count_up = np.arange(max_model_len, dtype=np.int32)

    def build(self, chunks: list[Chunk]) -> Batch:
        """The step that computes these chunks, in their order."""
        row = 0
        starts = [0]
        context = []
        logits_rows: list[int] = []
        token_ids, positions = self._token_ids, self._positions
        for index, chunk in enumerate(chunks):
            sequence = chunk.sequence
            if chunk.count == 1 and chunk.start == sequence.num_tokens - 1:
                token_ids[row] = sequence.last_token
                positions[row] = chunk.start
            else:
                token_ids[row : row + chunk.count] = sequence.tokens[chunk.start : chunk.end]
                positions[row : row + chunk.count] = self._count_up[chunk.start : chunk.end]
            row += chunk.count
            starts.append(row)
            context.append(chunk.end)
            if chunk.num_logits == 1:
                logits_rows.append(row - 1)
            else:
                logits_rows.extend(range(row - chunk.num_logits, row))
            blocks = sequence.blocks
            if self._shown[index] is not blocks or self._num_shown[index] != len(blocks):
                self._show(index, blocks)
        size = len(chunks)
        self._query_start[: size + 1] = starts
        self._context_len[:size] = context
        return Batch(
            token_ids=token_ids[:row],
            positions=positions[:row],
            query_start=self._query_start[: size + 1],
            context_len=self._context_len[:size],
            block_tables=self._tables[:size],
            logits_rows=np.array(logits_rows, dtype=np.int32),
        )

    def _show(self, index: int, blocks: list[int]) -> None:
        """Brings one row of the block tables up to date."""
        table = self._tables[index]
        shown = self._num_shown[index]
        if self._shown[index] is not blocks:
            table[len(blocks) : shown] = -1
            shown = 0
        table[shown : len(blocks)] = blocks[shown:]
        self._shown[index] = blocks
        self._num_shown[index] = len(blocks)
