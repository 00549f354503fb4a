"""An engine that dies, however often, or hangs, or is only busy."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from cierzo.engine.errors import EngineError
from cierzo.engine.process import supervisor as supervisor_module
from cierzo.engine.process.client import EngineClient
from cierzo.engine.process.engine_process import EngineProcess
from cierzo.engine.process.watchdog import BUSY_FACTOR
from cierzo.engine.sampling_params import SamplingParams
from tests.engine.models import random_prompt
from tests.engine.process.test_client import LONG, complete, exists, launch, started, until

LONG_ENOUGH = SamplingParams(max_tokens=3, temperature=0.0, ignore_eos=True)
# An engine whose every step takes longer than all patience with a silent process.
BUSY = """
import time
from cierzo.engine.process import main as process
from cierzo.engine.engine import Engine

real = Engine.step

def step(engine):
    time.sleep({seconds})
    return real(engine)

Engine.step = step
process.main()
"""


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "_FIRST_BACKOFF_SECONDS", 0.001)


def test_deaths_do_not_end_the_server_however_many(long_model: Path, no_pauses: None) -> None:
    """Who sends what kills engines must not take the server from all others."""

    async def main() -> None:
        async with started(long_model, max_restarts=1) as client:
            expected = await complete(client, [5, 6])
            for deaths in range(1, 7):
                task = asyncio.create_task(complete(client, [7], LONG))
                await until(lambda: client.stats.generated_tokens > 0 and client.stats.running > 0)
                os.kill(client.info.pid, signal.SIGKILL)
                with pytest.raises(EngineError, match="died"):
                    await task
                assert await complete(client, [5, 6]) == expected
                assert client.restarts == deaths
                assert client.status.state == "ready"

    asyncio.run(main())


def test_pauses_between_deaths_grow_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("cierzo.engine.process.supervisor.asyncio.sleep", sleep)

    async def main() -> None:
        for failures in (1, 2, 3, 4, 50, 100_000):
            await supervisor_module._back_off(failures, 5.0)

    asyncio.run(main())
    assert pauses == [0.5, 1.0, 2.0, 5.0, 5.0]


def test_a_request_is_given_to_one_successor_at_most(long_model: Path, no_pauses: None) -> None:
    """It may be what kills them."""

    async def main() -> None:
        async with started(long_model) as client:
            pids: set[int] = set()
            os.kill(client.info.pid, signal.SIGSTOP)  # so that it cannot be seen
            killer = asyncio.create_task(complete(client, [7], LONG))
            await asyncio.sleep(0)
            while not killer.done():
                if client.status.state == "ready" and client.info.pid not in pids:
                    pids.add(client.info.pid)
                    os.kill(client.info.pid, signal.SIGKILL)
                await asyncio.sleep(0)
            with pytest.raises(EngineError, match="send the request again"):
                await killer
            assert len(pids) == 2
            await until(lambda: client.restarts == 2)
            assert len((await complete(client, [5])).token_ids) == 20

    asyncio.run(main())


def test_an_engine_that_is_busy_is_not_taken_for_one_that_hangs(long_model: Path) -> None:
    async def main() -> None:
        command = (sys.executable, "-c", BUSY.format(seconds=1.5))
        client = EngineClient(launch(long_model), watchdog_seconds=1.0, command=command)
        await client.start()
        try:
            pid = client.info.pid
            answer = await complete(client, random_prompt(0, 30), LONG_ENOUGH)
            assert len(answer.token_ids) == 3
            assert client.info.pid == pid
            assert client.restarts == 0
        finally:
            await client.stop(0)

    asyncio.run(main())


def test_a_step_that_never_ends_is_seen_in_the_end(long_model: Path) -> None:
    async def main() -> None:
        command = (sys.executable, "-c", BUSY.format(seconds=1e6))
        client = EngineClient(launch(long_model), watchdog_seconds=0.5, command=command)
        await client.start()
        first = client.info.pid
        try:
            with pytest.raises(EngineError, match=f"one step for {0.5 * BUSY_FACTOR:g} s"):
                await complete(client, [5], LONG_ENOUGH)
            assert not exists(first)
        finally:
            await client.stop(0)

    asyncio.run(main())


def test_a_busy_engine_that_is_stopped_is_seen(long_model: Path) -> None:
    async def main() -> None:
        command = (sys.executable, "-c", BUSY.format(seconds=1e6))
        client = EngineClient(launch(long_model), watchdog_seconds=0.2, command=command)
        await client.start()
        try:
            task = asyncio.create_task(complete(client, [5], LONG_ENOUGH))
            await asyncio.sleep(0)
            os.kill(client.info.pid, signal.SIGSTOP)
            with pytest.raises(EngineError, match=r"did not answer for 0\.2 s|one step"):
                await task
        finally:
            await client.stop(0)

    asyncio.run(main())


def test_a_start_that_is_cut_off_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async def cut_off(loop: asyncio.AbstractEventLoop, *_: object, **__: object) -> None:
        raise asyncio.CancelledError

    def children() -> set[str]:
        found: set[str] = set()
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # another test's thread has just ended
                found.update((task / "children").read_text().split())
        return found

    async def main() -> None:
        before = children()
        command = (sys.executable, "-c", "import time; time.sleep(1e6)")
        with pytest.raises(asyncio.CancelledError):
            await EngineProcess.open(lambda _: None, command)
        assert children() == before

    monkeypatch.setattr(asyncio.SelectorEventLoop, "create_unix_connection", cut_off)
    asyncio.run(main())


def test_it_can_be_stopped_in_whatever_moment_the_engine_dies(long_model: Path) -> None:
    """A cancellation is not lost where the end of the process comes at the same time."""

    async def main(turns: int) -> None:
        async with started(long_model) as client:
            connection = client._supervisor.process
            assert connection is not None
            os.kill(client.info.pid, signal.SIGKILL)
            await connection.closed.wait()
            ended = asyncio.create_task(connection._process.wait())
            await ended
            for _ in range(turns):
                await asyncio.sleep(0)
            await client.stop(0)
            assert client.status.state == "stopped"

    for turns in range(6):
        asyncio.run(main(turns))
