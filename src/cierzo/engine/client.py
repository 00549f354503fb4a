"""The asyncio client of the engine process, and its supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Literal, TypeAlias

import msgspec

from cierzo.engine.messages import EngineInfo, EngineLaunch, EngineStats, StepOutput
from cierzo.engine.sampling_params import SamplingParams

EngineState: TypeAlias = Literal["loading", "ready", "restarting", "dead", "stopped"]


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the engine is, for `/health`."""

    state: EngineState
    detail: str  # one line: what is being loaded, or what went wrong
    since: float  # time.time() when this state began


class EngineClient:
    """Starts the engine process, feeds it requests, and keeps it alive.

    Belongs to the event loop that `start` ran on. An engine that dies, or leaves pings unanswered
    for `watchdog_seconds`, is killed and started again; requests that it had begun end with
    `EngineError`. After `max_restarts` failed attempts in a row the state is "dead" for good.
    """

    def __init__(
        self,
        launch: EngineLaunch,
        *,
        watchdog_seconds: float = 20.0,
        load_seconds: float = 1800.0,
        max_restarts: int = 5,
    ) -> None:
        self.launch = launch
        self.watchdog_seconds = watchdog_seconds
        self.load_seconds = load_seconds
        self.max_restarts = max_restarts

    async def start(self) -> None:
        """Starts the process and returns when it is ready.

        Raises EngineError with the engine's one line when it cannot load.
        """
        raise NotImplementedError

    @property
    def status(self) -> EngineStatus:
        """How the engine is now."""
        raise NotImplementedError

    @property
    def info(self) -> EngineInfo:
        """What the engine is. Raises EngineError before it was ready for the first time."""
        raise NotImplementedError

    @property
    def stats(self) -> EngineStats:
        """The last numbers heard from the engine, at most about a second old."""
        raise NotImplementedError

    async def generate(
        self, prompt: Sequence[int], params: SamplingParams, *, request_id: str | None = None
    ) -> AsyncGenerator[StepOutput, None]:
        """Yields what each step gives the request; the last one has a `finish_reason`.

        Closing the generator, or cancelling the task that runs it, aborts the request exactly
        once; its blocks are free within one step. Nothing is sent before the first iteration.

        Raises QueueFull, PromptTooLong, ValueError (parameters out of bounds, one line), and
        EngineError when the engine dies, hangs, stops, or fails this request.
        """
        raise NotImplementedError
        yield StepOutput("")

    async def wait_dead(self) -> str:
        """Returns, with the reason, once the engine cannot be brought back."""
        raise NotImplementedError

    async def stop(self, grace: float) -> None:
        """Takes no new requests, lets running ones finish for `grace` seconds, then ends.

        What still runs then gets EngineError. The process is gone when this returns; calling
        it again, or cancelling it, ends the wait at once.
        """
        raise NotImplementedError
        await asyncio.sleep(0)
