"""Slow requests do not hold up others: told by who is let in, not by time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from cierzo.api.text_threads import SMALL_BYTES, SMALL_THREADS, TextThreads

LARGE = SMALL_BYTES + 1


@pytest.fixture
def threads() -> Iterator[TextThreads]:
    made = TextThreads()
    yield made
    made.stop()


def beside(threads: TextThreads, slow: list[int], size: int) -> str:
    """What work of that size gives while as much other work as listed has no end."""
    release = threading.Event()

    async def run() -> str:
        others = [asyncio.create_task(threads.run(release.wait, other)) for other in slow]
        try:
            await asyncio.sleep(0)  # so that they are queued first
            return await asyncio.wait_for(threads.run(lambda: "done", size), 30)
        finally:
            release.set()
            await asyncio.gather(*others)

    return asyncio.run(run())


def test_small_work_does_not_wait_for_any_number_of_large(threads: TextThreads) -> None:
    assert beside(threads, [LARGE] * 50, SMALL_BYTES) == "done"


def test_small_work_that_is_slow_leaves_a_thread_to_others(threads: TextThreads) -> None:
    assert beside(threads, [1] * (SMALL_THREADS - 1), 1) == "done"


def test_large_work_does_not_wait_for_small(threads: TextThreads) -> None:
    assert beside(threads, [1] * 50, LARGE) == "done"


def test_what_has_not_begun_is_dropped_at_the_end() -> None:
    threads = TextThreads()
    release = threading.Event()
    done: list[int] = []

    async def run() -> None:
        begun = [asyncio.create_task(threads.run(release.wait, LARGE)) for _ in range(2)]
        await asyncio.sleep(0)
        late = asyncio.create_task(threads.run(lambda: done.append(1), LARGE))
        await asyncio.sleep(0)
        threads.stop()
        release.set()
        await asyncio.gather(*begun)
        await asyncio.wait([late])
        assert late.cancelled()

    asyncio.run(run())
    assert done == []
