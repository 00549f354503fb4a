"""The blocks of the KV cache: who holds which."""

from __future__ import annotations

from collections.abc import Iterable


class BlockPool:
    """Reference-counted blocks, numbered from 0.

    The block freed last is allocated first: memory that was never needed is never touched.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._references = [0] * num_blocks
        self._free = list(range(num_blocks - 1, -1, -1))

    @property
    def num_free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free)

    def allocate(self) -> int:
        """A free block, held once. Raises IndexError when there is none."""
        block = self._free.pop()
        self._references[block] = 1
        return block

    def share(self, block: int) -> None:
        """Holds a block once more. Raises ValueError for a free one: its content is gone."""
        if self._references[block] == 0:
            raise ValueError(f"block {block} is free and cannot be shared")
        self._references[block] += 1

    def release(self, blocks: Iterable[int]) -> None:
        """Gives up one hold on each block. Raises ValueError for a free one."""
        for block in blocks:
            held = self._references[block]
            if held == 0:
                raise ValueError(f"block {block} is free already")
            self._references[block] = held - 1
            if held == 1:
                self._free.append(block)
