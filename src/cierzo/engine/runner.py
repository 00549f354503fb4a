"""What the engine asks of the model: `cierzo.model.runner.ModelRunner` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cierzo.backends.batch import Batch
from cierzo.backends.ops import Logits, Threads


class VocabularySize(Protocol):
    """The part of the model's config that the engine reads."""

    @property
    def vocab_size(self) -> int:
        """Logits in a row."""
        ...


class Runner(Protocol):
    """What the engine asks of the model: `cierzo.model.runner.ModelRunner` has it."""

    @property
    def config(self) -> VocabularySize:
        """The model's shape."""
        ...

    @property
    def num_blocks(self) -> int:
        """Blocks of the KV cache."""
        ...

    @property
    def block_size(self) -> int:
        """Positions in a block."""
        ...

    @property
    def max_model_len(self) -> int:
        """Positions that one sequence may have."""
        ...

    @property
    def max_logits_rows(self) -> int:
        """Rows of logits that one step can give."""
        ...

    @property
    def threads(self) -> Threads:
        """What computes, now."""
        ...

    def copy_block(self, source: int, target: int) -> None:
        """Copies what a block of the KV cache holds to another block."""
        ...

    def give_back(self, blocks: Sequence[int]) -> None:
        """Gives the memory of blocks back to the system; what they held is lost."""
        ...

    def run(self, batch: Batch) -> Logits:
        """Computes a step; its logits are good until the next one. Raises StepCut."""
        ...

    def set_cut(self, cut: bool) -> None:
        """While it is set, a running step soon ends with StepCut, and so does the next one. For
        any thread."""
        ...
