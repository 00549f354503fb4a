"""Slow requests do not hold up others: told by who is let in, not by time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from cierzo.api.errors import ApiError
from cierzo.api.openai.chat import lanes_of
from cierzo.api.openai.wire.chat import ChatRequest
from cierzo.api.openai.wire.decode import decode_request
from cierzo.api.openai.wire.foreign import RequestDecoder
from cierzo.api.text_threads import PLAIN, SCHEMAS, Lanes, TextThreads
from cierzo.settings import Limits

SMALL, LARGE = PLAIN.bytes[0], PLAIN.bytes[0] + 1
TINY, MIDDLING = SCHEMAS.bytes[0], SCHEMAS.bytes[0] + 1

Work = tuple[int, Lanes]  # the size of a body, and where it is worked on


@pytest.fixture
def threads() -> Iterator[TextThreads]:
    made = TextThreads()
    yield made
    made.stop()


def beside(threads: TextThreads, slow: list[Work], mine: Work) -> str:
    """What work gives while as much other work as listed has no end."""
    release = threading.Event()

    async def run() -> str:
        others = [asyncio.create_task(threads.run(release.wait, *other)) for other in slow]
        try:
            await asyncio.sleep(0)  # so that they are queued first
            return await asyncio.wait_for(threads.run(lambda: "done", *mine), 30)
        finally:
            release.set()
            await asyncio.gather(*others)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("slow", "mine"),
    [
        ((LARGE, PLAIN), (SMALL, PLAIN)),
        ((LARGE, PLAIN), (TINY, SCHEMAS)),
        ((LARGE, SCHEMAS), (SMALL, PLAIN)),
        ((LARGE, SCHEMAS), (LARGE, PLAIN)),
        ((LARGE, SCHEMAS), (TINY, SCHEMAS)),
        ((LARGE, SCHEMAS), (MIDDLING, SCHEMAS)),
        ((MIDDLING, SCHEMAS), (SMALL, PLAIN)),
        ((MIDDLING, SCHEMAS), (TINY, SCHEMAS)),
        ((TINY, SCHEMAS), (1, PLAIN)),
        ((1, PLAIN), (LARGE, PLAIN)),
    ],
)
def test_no_number_of_slow_ones_keeps_others_waiting(
    threads: TextThreads, slow: Work, mine: Work
) -> None:
    assert beside(threads, [slow] * 50, mine) == "done"


@pytest.mark.parametrize("lanes", [PLAIN, SCHEMAS])
def test_two_slow_ones_leave_a_thread_to_a_small_one_of_their_kind(
    threads: TextThreads, lanes: Lanes
) -> None:
    assert beside(threads, [(1, lanes)] * 3, (1, lanes)) == "done"


@pytest.mark.parametrize(
    ("fields", "lanes"),
    [
        ("", PLAIN),
        (', "tools": []', PLAIN),
        (', "response_format": null', PLAIN),
        (', "response_format": {"type": "json_object"}', SCHEMAS),
        (', "tools": [{"type": "function", "function": {"name": "f"}}]', SCHEMAS),
        (', "structured_outputs": {"json": {}}', SCHEMAS),
        (', "guided_json": {"type": "string"}', SCHEMAS),
    ],
)
def test_schemas_are_worked_on_apart(fields: str, lanes: Lanes) -> None:
    body = f'{{"messages": [{{"role": "user", "content": "a"}}]{fields}}}'
    request = decode_request(body.encode(), RequestDecoder(ChatRequest), Limits())
    assert lanes_of(request) is lanes


def test_the_end_waits_for_no_thread_and_drops_what_has_not_begun() -> None:
    threads = TextThreads()
    release = threading.Event()
    done: list[int] = []

    async def run() -> None:
        begun = [asyncio.create_task(threads.run(release.wait, LARGE)) for _ in range(2)]
        await asyncio.sleep(0)
        late = asyncio.create_task(threads.run(lambda: done.append(1), LARGE))
        await asyncio.sleep(0)
        threads.stop()
        after = asyncio.create_task(threads.run(lambda: done.append(2), LARGE))
        for error in await asyncio.gather(*begun, late, after, return_exceptions=True):
            assert isinstance(error, ApiError)
            assert error.status == 503
        release.set()

    asyncio.run(run())
    assert done == []
