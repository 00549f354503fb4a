"""Keeps an engine process alive: starts it, watches it, and replaces one that fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Protocol

from cierzo.engine.errors import EngineError
from cierzo.engine.messages import (
    Beat,
    EngineInfo,
    EngineLaunch,
    FromEngine,
    LoadFailed,
    Loading,
    Note,
    Pong,
    Ready,
    Shutdown,
    Start,
)
from cierzo.engine.process.engine_process import COMMAND, EngineProcess
from cierzo.engine.process.status import EngineState, EngineStatus
from cierzo.engine.process.watchdog import Watchdog
from cierzo.log import Log, repeat

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0  # between attempts to start an engine that does not
_LONGEST_PAUSE_SECONDS = 5.0  # after deaths of engines that did start
_STABLE_SECONDS = 60.0  # an engine that ran so long ends a series of failures
_log = Log("engine")


class Supervised(Protocol):
    """The user of an engine, which is told what becomes of it."""

    def on_ready(self, process: EngineProcess) -> None:
        """An engine takes messages from now on: the first, or a successor."""

    def on_message(self, message: FromEngine) -> None:
        """The engine has said something."""

    def on_lost(self, reason: str) -> None:
        """The engine has failed; a successor is being started."""

    def on_dead(self, detail: str) -> None:
        """No engine can be started any more."""


class Supervisor:
    """Keeps one engine running. Belongs to the event loop that `start` ran on.

    An engine that dies, or leaves pings unanswered for `watchdog_seconds`, is killed and started
    again, however often. Only when none can be started, in `max_restarts` more attempts after the
    first, is the state "dead" for good.
    """

    def __init__(
        self,
        launch: EngineLaunch,
        user: Supervised,
        *,
        watchdog_seconds: float,
        load_seconds: float,
        max_restarts: int,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._launch = launch
        self._user = user
        self._watchdog_seconds = watchdog_seconds
        self._load_seconds = load_seconds
        self._max_restarts = max_restarts
        self._command = command
        self._task: asyncio.Task[None] | None = None
        self.status = EngineStatus(state="loading", detail="not started", since=time.time())
        self.info: EngineInfo | None = None  # of the last engine that was ready
        self.process: EngineProcess | None = None  # set while messages can be sent
        self.watchdog = Watchdog(watchdog_seconds)
        self.restarts = 0  # how often a failed engine was replaced by one that was ready
        self.gone = asyncio.Event()  # "dead" or "stopped"

    async def start(self) -> None:
        """Starts a process and returns when it is ready.

        Raises EngineError with the engine's one line when it cannot load.
        """
        self._set("loading", "starting the engine process")
        try:
            process = await self._load()
        except EngineError as error:
            self._set("dead", str(error))
            self.gone.set()
            raise
        self._task = asyncio.create_task(self._supervise(process))

    async def stop(self) -> None:
        """Ends the engine; its process is gone when this returns."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self.status.state != "dead":
            self._set("stopped", "the engine was stopped")
        self.gone.set()

    def _set(self, state: EngineState, detail: str) -> None:
        self.status = EngineStatus(state=state, detail=detail, since=time.time())

    async def _load(self) -> EngineProcess:
        """Starts a process and waits until it is ready. Raises EngineError, leaving none behind."""
        answer: asyncio.Future[EngineInfo] = asyncio.get_running_loop().create_future()
        watchdog = Watchdog(self._watchdog_seconds)

        def receive(message: FromEngine) -> None:
            if isinstance(message, Note):
                repeat(message.level, message.part, message.event, message.fields)
            elif isinstance(message, Loading):
                self._set(self.status.state, message.detail)
            elif isinstance(message, Ready):
                answer.set_result(message.info)
            elif isinstance(message, LoadFailed):
                answer.set_exception(EngineError(message.error))
            elif answer.done():
                if isinstance(message, Beat | Pong):
                    watchdog.hear(message)
                self._user.on_message(message)

        process = await EngineProcess.open(receive, self._command)
        closing = asyncio.create_task(process.closed.wait())
        events: set[asyncio.Future[Any]] = {answer, closing}
        try:
            process.send(Start(self._launch))
            await asyncio.wait(
                events, timeout=self._load_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if not answer.done():
                why = f"the engine did not finish loading in {self._load_seconds:g} s"
                if closing.done():
                    how = await process.end(politely=True)
                    why = f"the engine process ended while loading: {how}"
                answer.set_exception(EngineError(why))
            info = answer.result()
        except BaseException:
            await process.end(politely=False)
            raise
        finally:
            closing.cancel()
        self.info, self.watchdog, self.process = info, watchdog, process
        self._user.on_ready(process)
        self._set("ready", info.memory_plan)
        return process

    async def _supervise(self, process: EngineProcess) -> None:
        """Watches the engine, and replaces it when it fails, until none can be started."""
        deaths = 0
        while True:
            began = time.monotonic()
            reason = await self._watch(process)
            lived = time.monotonic() - began
            _log.error("engine failed", reason=reason, after_seconds=lived)
            self._user.on_lost(reason)
            deaths = 1 if lived > _STABLE_SECONDS else deaths + 1
            self._set("restarting", reason)
            # Whatever kills engines may be a request: its sender must not end the server.
            await _back_off(deaths, _LONGEST_PAUSE_SECONDS)
            successor = await self._replace()
            if successor is None:
                return
            process = successor

    async def _replace(self) -> EngineProcess | None:
        """The successor of an engine that failed; None once there were too many attempts."""
        began = time.monotonic()
        for attempt in range(1, self._max_restarts + 2):
            try:
                process = await self._load()
            except EngineError as error:
                reason = f"restarting the engine failed: {error}"
            else:
                self.restarts += 1
                seconds = time.monotonic() - began
                _log.warning("engine restarted", seconds=seconds, restarts=self.restarts)
                return process
            _log.error("engine not restarted", attempt=attempt, reason=reason)
            if attempt <= self._max_restarts:
                self._set("restarting", reason)
                await _back_off(attempt, _LONGEST_BACKOFF_SECONDS)
        detail = f"the engine could not be started in {attempt} attempts; the last time, {reason}"
        self._set("dead", detail)
        self._user.on_dead(detail)
        self.gone.set()
        return None

    async def _watch(self, process: EngineProcess) -> str:
        """Returns how the engine failed, once it has and is gone; ends it when cancelled."""
        politely = False
        try:
            return await self.watchdog.until_it_fails(process)
        except asyncio.CancelledError:
            process.send(Shutdown())
            politely = True
            raise
        finally:
            self.process = None
            await process.end(politely=politely)


async def _back_off(failures: int, longest: float) -> None:
    """Waits, each time longer, but not after the first failure."""
    if failures > 1:
        # The exponent is bounded, too: there may be any number of failures.
        await asyncio.sleep(min(_FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 2, 16), longest))
