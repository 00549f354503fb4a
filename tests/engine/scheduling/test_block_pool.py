"""Blocks are held and given back exactly; names follow content and what came before it."""

from __future__ import annotations

import pytest

from cierzo.engine.scheduling.block_pool import BlockPool


def test_every_block_can_be_taken_once() -> None:
    pool = BlockPool(3)
    assert sorted(pool.allocate() for _ in range(3)) == [0, 1, 2]
    assert pool.num_free == 0
    with pytest.raises(IndexError):
        pool.allocate()


def test_a_shared_block_is_free_only_when_all_have_let_go() -> None:
    pool = BlockPool(2)
    block = pool.allocate()
    pool.share(block)
    pool.release([block])
    assert pool.num_free == 1
    pool.release([block])
    assert pool.num_free == 2


def test_a_free_block_can_be_neither_shared_nor_released() -> None:
    pool = BlockPool(1)
    block = pool.allocate()
    pool.release([block])
    with pytest.raises(ValueError, match="free"):
        pool.share(block)
    with pytest.raises(ValueError, match="free"):
        pool.release([block])


def test_the_block_freed_last_is_taken_first() -> None:
    pool = BlockPool(100)
    first = pool.allocate()
    pool.release([first])
    assert pool.allocate() == first
