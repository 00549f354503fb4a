"""Threads for what is slow about a request: reading it, templates, tokens, schemas.

Two queues, told apart by the size of the body, so that those who send little never wait for those
who send much. Within the interpreter threads take turns of a few milliseconds, so several that
work at once slow each other down, but none is kept waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

SMALL_BYTES = 1 << 16  # twenty milliseconds of tokenizing at most
# A small body can still be slow to read (its schemas); it takes as many at once to stop others.
SMALL_THREADS = 8
LARGE_THREADS = 2


class TextThreads:
    """Belongs to a server; threads start as they are needed."""

    def __init__(self) -> None:
        self._small = ThreadPoolExecutor(SMALL_THREADS, thread_name_prefix="text")
        self._large = ThreadPoolExecutor(LARGE_THREADS, thread_name_prefix="long-text")

    async def run(self, work: Callable[[], T], size: int) -> T:
        """Does work on so many bytes off the event loop."""
        pool = self._small if size <= SMALL_BYTES else self._large
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    def stop(self) -> None:
        """Takes no more, and drops what has not begun."""
        for pool in (self._small, self._large):
            pool.shutdown(wait=False, cancel_futures=True)
