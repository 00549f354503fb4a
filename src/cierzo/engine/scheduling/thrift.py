"""Bounds what is computed once more where sessions need more memory than there is.

Sessions that take turns in too little memory evict each other: each comes back to find its history
gone, and evicts the next one's. So one whose tokens were evicted waits while others go on with what
they have, until as many were computed as it would compute twice; but for nobody who came later than
it, once all are gone who came before.
"""

from __future__ import annotations

from cierzo.engine.cache.kv_cache import KvCache
from cierzo.engine.cache.prefix_tree import Node
from cierzo.engine.sequence import Sequence

# What is computed once more is paid for with so many times as many tokens that are computed.
PRICE = 3
MOST = 0.25  # of the memory's tokens are to spend at first, and at most


class Thrift:
    """Tokens to spend on what is computed once more."""

    def __init__(self, cache: KvCache) -> None:
        self._cache = cache
        self._most = int(MOST * cache.num_blocks * cache.block_size)
        self._left = self._most
        # Of waiting ones, as long as they begin from the same node.
        self._prices: dict[Sequence, tuple[Node, int]] = {}

    def earn(self, num_tokens: int) -> None:
        """So many tokens are computed."""
        self._left = min(self._left + num_tokens, self._most)

    def allows(self, sequence: Sequence) -> bool:
        """Whether a waiting one may begin."""
        return self._price(sequence) <= max(self._left, 0)

    def spend(self, sequence: Sequence) -> None:
        """It begins."""
        self._left -= self._price(sequence)
        self.forget(sequence)

    def forget(self, sequence: Sequence) -> None:
        """It waits no more."""
        self._prices.pop(sequence, None)

    def _price(self, sequence: Sequence) -> int:
        cache = self._cache
        if cache.disk is not None:
            return 0
        node = cache.find(sequence)
        known, price = self._prices.get(sequence, (None, 0))
        if known is not node:
            price = PRICE * cache.evicted.num_lost(node, sequence, cache.block_size)
            self._prices[sequence] = node, price
        return price
