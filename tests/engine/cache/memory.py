"""A KV cache without a model: what each place of each block would hold, and who may write to it."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as AbstractSequence
from typing import Any

from cierzo.engine.cache.eviction import Worth, by_time
from cierzo.engine.cache.hints import NO_HINTS, Hints
from cierzo.engine.cache.kv_cache import KvCache
from cierzo.engine.sampling_params import SamplingParams
from cierzo.engine.sequence import Sequence

BLOCK = 4


class Memory:
    """Blocks of four places. A place holds the tokens up to its own, as keys and values do."""

    def __init__(self, num_blocks: int, *, keep: bool = True, worth: Worth = by_time) -> None:
        self.cache = KvCache(num_blocks, BLOCK, self._copy, keep=keep, worth=worth)
        self._places: list[list[object]] = [[None] * BLOCK for _ in range(num_blocks)]
        self.computed = 0  # tokens

    def _copy(self, source: int, target: int) -> None:
        self._places[target] = list(self._places[source])

    def start(self, sequence: Sequence) -> Sequence:
        self.cache.start(sequence)
        self.verify(sequence)
        return sequence

    def compute(self, sequence: Sequence, count: int | None = None) -> bool:
        """Computes that many of its tokens, or all; False if there are too few blocks."""
        end = sequence.num_tokens
        if count is not None:
            end = min(end, sequence.num_computed + count)
        while len(sequence.blocks) * BLOCK < end:
            block = self.cache.take()
            if block is None:
                return False
            sequence.blocks.append(block)
        for position in range(sequence.num_computed, end):
            block, place = divmod(position, BLOCK)
            assert sequence.node is not None
            assert block >= sequence.node.depth, "a block in the tree is written to"
            value = tuple(sequence.tokens[: position + 1].tolist())
            self._places[sequence.blocks[block]][place] = value
            self.computed += 1
        sequence.num_computed = end
        return True

    def verify(self, sequence: Sequence) -> None:
        """What is computed of a sequence is what it would have computed itself."""
        tokens = sequence.tokens.tolist()
        for position in range(sequence.num_computed):
            block, place = divmod(position, BLOCK)
            expected = tuple(tokens[: position + 1])
            assert self._places[sequence.blocks[block]][place] == expected

    def missing(self, sequence: Sequence) -> int:
        """What `num_missing` says, found by going through all of the path."""
        path = self.cache.find(sequence).path()
        shared = max((node.depth for node in path if node.pins), default=0)
        return self.cache.blocks_for(sequence.num_tokens) - shared

    def run(
        self, tokens: AbstractSequence[int], salt: str = "", hints: Hints = NO_HINTS
    ) -> Sequence:
        """Reads a prompt whose answer is one token, and stops."""
        sequence = self.start(make(tokens, salt=salt, hints=hints))
        assert self.compute(sequence)
        sequence.append(0)
        self.cache.release(sequence)
        return sequence


def make(
    tokens: AbstractSequence[int],
    *,
    salt: str = "",
    answer: int = 1,
    hints: Hints = NO_HINTS,
    **params: Any,
) -> Sequence:
    sampling = SamplingParams(max_tokens=answer, **params)
    return Sequence("s", tokens, sampling, max_len=10_000, cache_salt=salt, hints=hints)


def counted(numbers: Iterable[int]) -> Worth:
    """Worths in the order in which nodes are left."""
    it = iter(numbers)
    return lambda node, sequence: float(next(it))
