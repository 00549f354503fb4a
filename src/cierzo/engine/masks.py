"""Computes the masks of a step's constrained sequences while the forward pass runs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from cierzo.engine.constrained import Constrained


class MaskWorker:
    """A thread beside the engine's, and the masks that it wrote last."""

    def __init__(self, max_batch_sequences: int, num_words: int) -> None:
        # A page is only touched once a step has so many constrained sequences.
        self.masks: npt.NDArray[np.uint32] = np.zeros(
            (max_batch_sequences, num_words), dtype=np.uint32
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="masks")

    def begin(self, sequences: Sequence[Constrained]) -> Future[None]:
        """Starts writing the mask of sequences[i] to masks[i]."""
        return self._thread.submit(self._fill, sequences)

    def _fill(self, sequences: Sequence[Constrained]) -> None:
        for mask, constrained in zip(self.masks, sequences, strict=False):
            constrained.fill_mask(mask)
