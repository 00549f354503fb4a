"""Threads for what is slow about a request: reading it, templates, tokens, schemas.

Lanes, told apart by the size of the body and by whether there are schemas to be made into grammars,
which takes longer than all else: those who send little never wait for those who send much. Within
the interpreter threads take turns of a millisecond, so several that work at once slow each other
down, but none is kept waiting.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from cierzo.api.errors import ApiError, unavailable

T = TypeVar("T")


@dataclass(frozen=True)
class Lanes:
    """For bodies of up to each of so many bytes, so many threads; the last take all others."""

    bytes: Sequence[int]
    threads: Sequence[int]


# 64 kB are twenty milliseconds of tokenizing at most.
PLAIN = Lanes((1 << 16,), (8, 2))
# What is made of a schema is bounded, but for 8 kB of it that may be half a second.
SCHEMAS = Lanes((1 << 13, 1 << 16), (4, 2, 2))


class TextThreads:
    """Belongs to a server; threads start as they are needed."""

    def __init__(self) -> None:
        self._pools = {
            lanes: [ThreadPoolExecutor(n, thread_name_prefix="text") for n in lanes.threads]
            for lanes in (PLAIN, SCHEMAS)
        }
        self._ended = asyncio.Event()

    async def run(self, work: Callable[[], T], size: int, lanes: Lanes = PLAIN) -> T:
        """Does work on a body of so many bytes off the event loop. ApiError when the end comes."""
        pool = self._pools[lanes][bisect_left(lanes.bytes, size)]
        if self._ended.is_set():
            raise _ending()
        working = asyncio.get_running_loop().run_in_executor(pool, work)
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait((working, ended), return_when=asyncio.FIRST_COMPLETED)
            if self._ended.is_set():
                raise _ending()
            return working.result()
        finally:
            working.cancel()  # what has begun goes on, for nobody
            ended.cancel()

    def stop(self) -> None:
        """Takes no more, drops what has not begun, and waits for nothing."""
        self._ended.set()
        for pools in self._pools.values():
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)


def _ending() -> ApiError:
    return unavailable("the server is shutting down", "shutting_down")
