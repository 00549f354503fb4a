"""What one engine step asks of the model: tokens of several sequences, laid end to end.

Legend: T tokens in the step, S sequences, B blocks of the longest sequence, L rows of logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Batch:
    """One step. All arrays are C-contiguous int32.

    Sequence s owns rows `query_start[s]:query_start[s + 1]`; after the step its cache holds
    `context_len[s]` positions, found through `block_tables[s]`.
    """

    token_ids: Int32Array  # [T]
    positions: Int32Array  # [T] position of each token in its own sequence
    query_start: Int32Array  # [S + 1] first row of each sequence, then T
    context_len: Int32Array  # [S] positions in the cache once this step is stored
    block_tables: Int32Array  # [S, B] cache blocks in order of position; unused entries are -1
    logits_rows: Int32Array  # [L] rows whose logits are wanted, ascending
