"""The engine process under its supervisor: real processes, real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cierzo.engine.errors import EngineError, PromptTooLong, QueueFull
from cierzo.engine.messages import EngineLaunch
from cierzo.engine.process.client import EngineClient
from cierzo.engine.sampling_params import SamplingParams
from cierzo.settings import EngineSettings
from tests.engine.models import Answer, Request, make_engine, random_prompt, run

SHORT = SamplingParams(max_tokens=20, temperature=0.0, ignore_eos=True)
# Does not end within a test.
LONG = SamplingParams(max_tokens=60_000, temperature=0.0, ignore_eos=True)


def launch(path: Path, **settings: Any) -> EngineLaunch:
    wanted = {"kv_cache_memory_mb": 512, "threads": 2, "kv_cache_disk_gb": 0.0} | settings
    return EngineLaunch(path=str(path), settings=EngineSettings(**wanted))


@asynccontextmanager
async def started(path: Path, **options: Any) -> AsyncIterator[EngineClient]:
    """A client whose engine is ready; afterwards no engine process is left."""
    names = ("watchdog_seconds", "load_seconds", "max_restarts")
    client = EngineClient(
        launch(path, **{k: v for k, v in options.items() if k not in names}),
        **{k: v for k, v in options.items() if k in names},
    )
    await client.start()
    try:
        yield client
    finally:
        await client.stop(0)
        assert not exists(client.info.pid)


async def complete(
    client: EngineClient, prompt: list[int], params: SamplingParams = SHORT, name: str | None = None
) -> Answer:
    answer = Answer()
    async for output in client.generate(prompt, params, request_id=name):
        answer.take(output)
    return answer


async def begun(client: EngineClient, prompt: list[int]) -> asyncio.Task[Answer]:
    """A long request that has had its first token."""
    task = asyncio.create_task(complete(client, prompt, LONG))
    await until(lambda: client.stats.generated_tokens > 0 and client.stats.running > 0)
    return task


async def until(condition: Callable[[], bool]) -> None:
    """Waits; the test's own timeout is the limit."""
    while not condition():
        await asyncio.sleep(0.01)


def exists(pid: int) -> bool:
    """Whether there is such a process, a zombie included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_answers_are_those_of_the_engine(long_model: Path) -> None:
    params = SamplingParams(max_tokens=30, seed=3, logprobs=2, prompt_logprobs=1)
    prompt = random_prompt(0, 100)
    expected = run(make_engine(long_model, num_blocks=2_048), {"r": Request(prompt, params)})["r"]

    async def main() -> None:
        async with started(long_model) as client:
            assert client.status.state == "ready"
            assert client.info.max_model_len == 65_536
            answers = await asyncio.gather(*(complete(client, prompt, params) for _ in range(16)))
            assert answers == [expected] * 16
            assert client.stats.finished == 16

    asyncio.run(main())


async def closing(client: EngineClient) -> None:
    async with aclosing(client.generate([5], LONG)) as outputs:
        await anext(outputs)


async def cancelling(client: EngineClient) -> None:
    task = await begun(client, [5])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancelling_a_prompt(client: EngineClient) -> None:
    task = asyncio.create_task(complete(client, random_prompt(0, 60_000), SHORT))
    await until(lambda: client.stats.running > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("leave", [closing, cancelling, cancelling_a_prompt])
def test_leaving_a_request_aborts_it_once_and_frees_its_blocks(
    long_model: Path, leave: Callable[[EngineClient], Awaitable[None]]
) -> None:
    async def main() -> None:
        async with started(long_model) as client:
            await leave(client)
            await until(lambda: client.stats.aborted == 1)
            assert client.stats.free_blocks == client.stats.num_blocks
            assert len((await complete(client, [5])).token_ids) == 20
            assert client.stats.aborted == 1

    asyncio.run(main())


def test_a_finished_request_is_not_aborted(long_model: Path) -> None:
    async def main() -> None:
        async with started(long_model) as client:
            async with aclosing(client.generate([5], SHORT)) as outputs:
                async for output in outputs:
                    if output.finish_reason:
                        break
            await complete(client, [5])
            assert client.stats.aborted == 0

    asyncio.run(main())


def test_bad_requests_are_refused_as_the_engine_refuses_them(long_model: Path) -> None:
    async def main() -> None:
        async with started(long_model) as client:
            with pytest.raises(PromptTooLong):
                await complete(client, [5] * 65_536)
            with pytest.raises(ValueError, match="temperature"):
                await complete(client, [5], SamplingParams(temperature=float("inf")))
            with pytest.raises(ValueError, match="from 0 to 511"):
                await complete(client, [10**6])
            with pytest.raises(ValueError, match="no tokens"):
                await complete(client, [])
            task = asyncio.create_task(complete(client, [5], LONG, "name"))
            await until(lambda: client.stats.running == 1)
            with pytest.raises(ValueError, match="in use"):
                await complete(client, [5], SHORT, "name")
            assert client.stats.requests == 1
            task.cancel()

    asyncio.run(main())


def test_a_full_queue_says_when_to_come_back(long_model: Path) -> None:
    async def main() -> None:
        async with started(long_model, max_batch_sequences=2, max_queue=3) as client:
            tasks = [asyncio.create_task(complete(client, [5 + i], LONG)) for i in range(5)]
            await until(lambda: client.stats.running == 2 and client.stats.waiting == 3)
            with pytest.raises(QueueFull, match="3 requests are waiting") as caught:
                await complete(client, [5])
            assert 1 <= caught.value.retry_after <= 60
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert len((await complete(client, [5])).token_ids) == 20

    asyncio.run(main())


def test_a_killed_engine_is_replaced(long_model: Path) -> None:
    async def main() -> None:
        async with started(long_model) as client:
            expected = await complete(client, [5, 6])
            first = client.info.pid
            tasks = [await begun(client, [7 + i]) for i in range(3)]
            await until(lambda: client.stats.running == 3)
            os.kill(first, signal.SIGKILL)
            for task in tasks:
                with pytest.raises(EngineError, match="process died: it was ended by SIGKILL"):
                    await task
            assert client.status.state == "restarting"
            assert "SIGKILL" in client.status.detail
            assert await complete(client, [5, 6]) == expected
            assert str(client.status.state) == "ready"
            assert client.info.pid != first
            assert not exists(first)

    asyncio.run(main())


def test_a_stopped_engine_is_seen_and_replaced(long_model: Path) -> None:
    async def main() -> None:
        async with started(long_model, watchdog_seconds=1.0) as client:
            expected = await complete(client, [5, 6])
            first = client.info.pid
            task = await begun(client, [7])
            os.kill(first, signal.SIGSTOP)
            late = asyncio.create_task(complete(client, [5, 6]))
            with pytest.raises(EngineError, match="hung: it did not answer for 1 s"):
                await task
            # The engine that hung cannot have seen this one, so its successor answers it.
            assert await late == expected
            assert client.info.pid != first
            assert not exists(first)

    asyncio.run(main())


def test_an_event_loop_that_stood_still_does_not_blame_the_engine(long_model: Path) -> None:
    async def main() -> None:
        async with started(long_model, watchdog_seconds=0.5) as client:
            first = client.info.pid
            task = await begun(client, [7])
            time.sleep(1.5)
            await asyncio.sleep(0.1)
            assert not task.done()
            assert client.info.pid == first
            assert client.status.state == "ready"
            task.cancel()

    asyncio.run(main())


def test_an_engine_that_cannot_come_back_is_dead(long_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(long_model.read_bytes())

    async def main() -> None:
        async with started(path, max_restarts=2) as client:
            dead = asyncio.create_task(client.wait_dead())
            task = await begun(client, [7])
            path.unlink()
            os.kill(client.info.pid, signal.SIGKILL)
            with pytest.raises(EngineError, match="died"):
                await task
            with pytest.raises(EngineError, match="could not be started in 3 attempts"):
                await complete(client, [5])  # waits for the restart, which fails
            assert "model.gguf" in await dead
            assert client.status.state == "dead"
            with pytest.raises(EngineError, match="could not be started in 3 attempts"):
                await complete(client, [5])

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kv_cache_memory_mb": 16}, r"65536 tokens takes .* use --max-model-len \d+ or less"),
        ({"max_model_len": 100_000}, "use 65536 or less"),
        ({"max_batch_tokens": 8}, "max_batch_sequences"),
    ],
)
def test_start_up_failures_are_one_clear_line(
    long_model: Path, settings: dict[str, int], message: str
) -> None:
    async def main() -> None:
        client = EngineClient(launch(long_model, **settings))
        with pytest.raises(EngineError, match=message) as caught:
            await client.start()
        assert "\n" not in str(caught.value)
        assert client.status.state == "dead"
        with pytest.raises(EngineError):
            await complete(client, [5])
        await client.stop(0)

    asyncio.run(main())


def test_a_checkpoint_that_is_cut_in_half(long_model: Path, tmp_path: Path) -> None:
    data = long_model.read_bytes()
    (tmp_path / "half.gguf").write_bytes(data[: len(data) // 2])

    async def main() -> None:
        client = EngineClient(launch(tmp_path / "half.gguf"))
        with pytest.raises(EngineError, match=r"half\.gguf"):
            await client.start()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("raise SystemExit(3)", "ended while loading: it exited with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
        ("import time; time.sleep(60)", "did not finish loading in 1 s"),
        ("import os,sys,time; os.write(int(sys.argv[1]), b'nonsense'); time.sleep(60)", "read"),
    ],
)
def test_a_process_that_never_becomes_an_engine(
    long_model: Path, script: str, message: str
) -> None:
    async def main() -> None:
        command = (sys.executable, "-c", script)
        client = EngineClient(launch(long_model), command=command, load_seconds=1.0)
        with pytest.raises(EngineError, match=message):
            await client.start()

    asyncio.run(main())


def test_stop_lets_running_requests_finish(long_model: Path) -> None:
    async def main() -> None:
        async with started(long_model) as client:
            params = SamplingParams(max_tokens=2_000, temperature=0.0, ignore_eos=True)
            task = asyncio.create_task(complete(client, [5], params))
            await until(lambda: client.stats.running == 1)
            await client.stop(grace=60)
            assert len((await task).token_ids) == 2_000
            assert client.status.state == "stopped"
            with pytest.raises(EngineError, match="stopping"):
                await complete(client, [5])

    asyncio.run(main())


def test_stop_ends_what_outlasts_the_grace(long_model: Path) -> None:
    async def main() -> None:
        async with started(long_model) as client:
            task = await begun(client, [5])
            await client.stop(grace=0.05)
            with pytest.raises(EngineError, match="stopping"):
                await task

    asyncio.run(main())


def test_a_second_stop_does_not_wait(long_model: Path) -> None:
    async def main() -> None:
        async with started(long_model) as client:
            task = await begun(client, [5])
            first = asyncio.create_task(client.stop(grace=3_600))
            await asyncio.sleep(0.05)
            await client.stop(grace=3_600)
            await first
            with pytest.raises(EngineError, match="stopping"):
                await task

    asyncio.run(main())


# A server in small: prints its engine's pid, then works until told to stop.
PARENT = """
import asyncio, signal, sys
from cierzo.engine.process.client import EngineClient
from tests.engine.process.test_client import launch, complete, until
from cierzo.engine.sampling_params import SamplingParams
from pathlib import Path

async def main():
    client = EngineClient(launch(Path(sys.argv[1])))
    await client.start()
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, asked.set)
    params = SamplingParams(max_tokens=int(sys.argv[2]), temperature=0.0, ignore_eos=True)
    task = asyncio.create_task(complete(client, [5], params))
    await until(lambda: client.stats.running == 1)
    print(client.info.pid, flush=True)
    await asked.wait()
    await client.stop(60)
    print(len((await task).token_ids), flush=True)

asyncio.run(main())
"""


def parent(path: Path, tokens: int) -> tuple[subprocess.Popen[str], int]:
    """Starts the script in a process group of its own; gives it and its engine's pid."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path), str(tokens)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def wait_gone(pid: int) -> None:
    """Until the process has ended; who inherits it may take a moment to bury it."""
    status = Path(f"/proc/{pid}/status")
    while True:
        try:
            if "State:\tZ" in status.read_text():
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)


@pytest.mark.parametrize("state", ["working", "stopped"])
def test_the_engine_does_not_outlive_its_parent(long_model: Path, state: str) -> None:
    process, engine = parent(long_model, 50_000)
    with process:
        if state == "stopped":
            os.kill(engine, signal.SIGSTOP)
        process.kill()
        wait_gone(engine)


def test_ctrl_c_reaches_the_parent_alone_and_the_answer_is_finished(long_model: Path) -> None:
    process, engine = parent(long_model, 3_000)
    with process:
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does
        os.kill(engine, signal.SIGINT)
        os.kill(engine, signal.SIGTERM)  # what systemd does
        out, _ = process.communicate()
        assert out.split() == ["3000"]
        assert process.returncode == 0
    wait_gone(engine)
