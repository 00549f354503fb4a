"""The asyncio client of the engine process, and its supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any
from uuid import uuid4

import numpy as np

from cierzo.engine.errors import EngineError, NoAnswer, PromptTooLong, QueueFull
from cierzo.engine.messages import (
    Abort,
    Add,
    Beat,
    CompileResult,
    EngineInfo,
    EngineLaunch,
    EngineStats,
    Fault,
    FromEngine,
    LoadFailed,
    Loading,
    Outputs,
    Pong,
    Ready,
    SetVocabulary,
    Shutdown,
    Start,
    StepOutput,
)
from cierzo.engine.process.connection import COMMAND, Connection
from cierzo.engine.process.pending_checks import CompileCalls
from cierzo.engine.process.retry_after import Turnover
from cierzo.engine.process.status import EngineState, EngineStatus
from cierzo.engine.process.watchdog import Watchdog
from cierzo.engine.sampling_params import SamplingParams, validate
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.errors import GrammarError, PrefixError
from cierzo.grammar.vocabulary import TokenBytes

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0  # between attempts to start an engine that does not
_LONGEST_PAUSE_SECONDS = 5.0  # after deaths of engines that did start
_STABLE_SECONDS = 60.0  # an engine that ran so long is not the one that kept failing

_FAULTS: dict[Fault, type[Exception]] = {
    "grammar": GrammarError,
    "prefix": PrefixError,
    "engine": EngineError,
}


class _Request:
    """A request that has not finished."""

    __slots__ = ("add", "begun", "items", "resent", "sent_after_ping")

    def __init__(self, add: Add) -> None:
        self.add = add
        self.items: asyncio.Queue[StepOutput | EngineError] = asyncio.Queue()
        self.begun = False  # it has had an output
        self.resent = False
        self.sent_after_ping = 0  # a later ping, once answered, means that the engine has it


class EngineClient:
    """Starts the engine process, feeds it requests, and keeps it alive.

    Belongs to the event loop that `start` ran on. An engine that dies, or leaves pings unanswered
    for `watchdog_seconds`, is killed and started again, however often. Requests that it had taken
    in end with `EngineError`; those that it cannot have seen, and new ones, are given to its
    successor, but to no more than one. Only when no engine can be started any more, in
    `max_restarts` more attempts after the first, is the state "dead" for good.
    """

    def __init__(
        self,
        launch: EngineLaunch,
        *,
        watchdog_seconds: float = 20.0,
        load_seconds: float = 1800.0,
        max_restarts: int = 5,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._launch = launch
        self._watchdog_seconds = watchdog_seconds
        self._watchdog = Watchdog(watchdog_seconds)
        self._load_seconds = load_seconds
        self._max_restarts = max_restarts
        self._command = command
        self._status = EngineStatus(state="loading", detail="not started", since=time.time())
        self._info: EngineInfo | None = None
        self._stats = EngineStats()
        self._connection: Connection | None = None  # set while requests can be sent
        self._requests: dict[str, _Request] = {}
        self._vocabulary: TokenBytes | None = None
        self._compile_calls = CompileCalls()
        self._turnover = Turnover()
        self._restarts = 0
        self._supervisor: asyncio.Task[None] | None = None
        self._stopping = False
        self._idle = asyncio.Event()  # no request is left, or nobody waits for them any more
        self._gone = asyncio.Event()  # "dead" or "stopped"

    async def start(self) -> None:
        """Starts the process and returns when it is ready.

        Raises EngineError with the engine's one line when it cannot load.
        """
        self._set("loading", "starting the engine process")
        try:
            connection = await self._load()
        except EngineError as error:
            self._set("dead", str(error))
            self._gone.set()
            raise
        self._supervisor = asyncio.create_task(self._supervise(connection))

    @property
    def status(self) -> EngineStatus:
        """How the engine is now."""
        return self._status

    @property
    def info(self) -> EngineInfo:
        """What the engine is. Raises EngineError before it was ready for the first time."""
        if self._info is None:
            raise EngineError(f"the engine is not ready: {self._status.detail}")
        return self._info

    @property
    def stats(self) -> EngineStats:
        """The last numbers heard from the engine, at most about a second old."""
        return self._stats

    @property
    def restarts(self) -> int:
        """How often a failed engine has been replaced by one that was ready."""
        return self._restarts

    def set_vocabulary(self, source: TokenBytes) -> None:
        """Tells this engine, and every one after it, the tokens that constraints are made of."""
        self._vocabulary = source
        if self._connection is not None:
            self._connection.send(SetVocabulary(source))

    async def check_constraint(self, constraint: Constraint) -> None:
        """Has the engine compile a constraint whose request is about to come, and keep it for that.

        Raises GrammarError for one that cannot be compiled (PrefixError if it is the beginning of
        the answer that the grammar does not allow), and EngineError if the engine cannot do it.
        """
        if self._connection is None:
            raise EngineError(f"the engine is not ready: {self._status.detail}")
        failure = await self._compile_calls.ask(self._connection, constraint)
        if failure is not None:
            raise _FAULTS[failure.fault](failure.problem)

    async def generate(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        shares: str = "",
    ) -> AsyncGenerator[StepOutput, None]:
        """Yields what each step gives the request; the last one has a `finish_reason`.

        Closing the generator, or cancelling the task that runs it, aborts the request exactly
        once; its blocks are free within one step. Nothing is sent before the first iteration.
        `shares` is the id of an earlier request with the same prompt, which then is computed once.

        Raises QueueFull, PromptTooLong, ValueError (parameters out of bounds, one line), and
        EngineError when the engine dies, hangs, stops, or fails this request (NoAnswer where no
        answer has the form that is wanted).
        """
        request = self._admit(prompt, params, request_id or uuid4().hex, shares)
        request_id = request.add.request_id
        try:
            while True:
                item = await request.items.get()
                if isinstance(item, EngineError):
                    raise item
                if item.finish_reason == "error":
                    kind = NoAnswer if item.no_answer else EngineError
                    raise kind(item.error or "the engine failed this request")
                yield item
                if item.finish_reason is not None:
                    return
        finally:
            if self._requests.get(request_id) is request:  # not finished
                self._forget(request_id)
                if self._connection is not None:
                    self._connection.send(Abort(request_id))

    async def wait_dead(self) -> str:
        """Returns, with the reason, once the engine cannot be brought back (or was stopped)."""
        await self._gone.wait()
        return self._status.detail

    async def stop(self, grace: float) -> None:
        """Takes no new requests, lets running ones finish for `grace` seconds, then ends.

        What still runs then gets EngineError. The process is gone when this returns; calling
        it again, or cancelling it, ends the wait at once.
        """
        if self._stopping:
            self._idle.set()
            await self._gone.wait()
            return
        self._stopping = True
        if not self._requests:
            self._idle.set()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._idle.wait()
        finally:
            self._fail_all(EngineError("the server is stopping"))
            if self._supervisor is not None:
                self._supervisor.cancel()
                await asyncio.wait([self._supervisor])
            if self._status.state != "dead":
                self._set("stopped", "the engine was stopped")
            self._gone.set()

    def _admit(
        self, prompt: Sequence[int], params: SamplingParams, request_id: str, shares: str
    ) -> _Request:
        """Checks a request and sends it, or keeps it for an engine that is being restarted."""
        info = self.info
        if self._stopping or self._gone.is_set():
            raise EngineError("the server is stopping" if self._stopping else self._status.detail)
        if request_id in self._requests:
            raise ValueError(f"request id {request_id!r} is in use")
        validate(params, info.vocab_size)
        tokens = np.asarray(prompt, dtype=np.int64)
        if len(tokens) == 0:
            raise ValueError("the prompt has no tokens")
        if tokens.min() < 0 or tokens.max() >= info.vocab_size:
            raise ValueError(f"prompt token ids must be from 0 to {info.vocab_size - 1}")
        if len(tokens) + min(params.max_tokens, 1) > info.max_model_len:
            raise PromptTooLong(len(tokens), info.max_model_len)
        waiting = len(self._requests) - info.max_batch_sequences
        if waiting >= self._launch.settings.max_queue:
            raise QueueFull(waiting, self._turnover.seconds_to_next())
        request = _Request(Add(request_id, tokens.astype("<i4").tobytes(), params, shares))
        self._requests[request_id] = request
        if self._connection is not None:
            self._send(self._connection, request)
        return request

    def _send(self, connection: Connection, request: _Request) -> None:
        request.sent_after_ping = self._watchdog.ping
        connection.send(request.add)

    def _forget(self, request_id: str) -> None:
        del self._requests[request_id]
        if not self._requests and self._stopping:
            self._idle.set()

    def _fail_all(self, error: EngineError) -> None:
        for request_id, request in list(self._requests.items()):
            request.items.put_nowait(error)
            self._forget(request_id)

    def _set(self, state: EngineState, detail: str) -> None:
        self._status = EngineStatus(state=state, detail=detail, since=time.time())

    def _receive(self, message: FromEngine) -> None:
        if isinstance(message, Outputs):
            self._stats = message.stats
            for output in message.outputs:
                request = self._requests.get(output.request_id)
                if request is None:  # aborted while this was on its way
                    continue
                request.begun = True
                request.items.put_nowait(output)
                if output.finish_reason is not None:
                    self._turnover.mark()
                    self._forget(output.request_id)
        elif isinstance(message, CompileResult):
            self._compile_calls.receive(message)
        elif isinstance(message, Beat | Pong):
            self._watchdog.hear(message)
            if isinstance(message, Pong):
                self._stats = message.stats

    async def _load(self) -> Connection:
        """Starts a process and waits until it is ready. Raises EngineError, leaving none behind."""
        answer: asyncio.Future[EngineInfo] = asyncio.get_running_loop().create_future()

        def receive(message: FromEngine) -> None:
            if isinstance(message, Loading):
                self._set(self._status.state, message.detail)
            elif answer.done():
                self._receive(message)
            elif isinstance(message, Ready):
                answer.set_result(message.info)
            elif isinstance(message, LoadFailed):
                answer.set_exception(EngineError(message.error))

        connection = await Connection.open(receive, self._command)
        closing = asyncio.create_task(connection.closed.wait())
        events: set[asyncio.Future[Any]] = {answer, closing}
        try:
            connection.send(Start(self._launch))
            await asyncio.wait(
                events, timeout=self._load_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if not answer.done():
                why = f"the engine did not finish loading in {self._load_seconds:g} s"
                if closing.done():
                    how = await connection.end(kindly=True)
                    why = f"the engine process ended while loading: {how}"
                answer.set_exception(EngineError(why))
            info = answer.result()
        except BaseException:
            await connection.end(kindly=False)
            raise
        finally:
            closing.cancel()
        self._info = info
        self._stats = EngineStats(free_blocks=info.num_blocks, num_blocks=info.num_blocks)
        self._watchdog = Watchdog(self._watchdog_seconds)
        self._connection = connection
        if self._vocabulary is not None:
            connection.send(SetVocabulary(self._vocabulary))
        for request in self._requests.values():
            self._send(connection, request)
        self._set("ready", info.memory_plan)
        return connection

    async def _supervise(self, connection: Connection) -> None:
        """Watches the engine, and replaces it when it fails, until none can be started."""
        deaths = 0
        while True:
            began = time.monotonic()
            reason = await self._watch(connection)
            self._lose(reason)
            deaths = 1 if time.monotonic() - began > _STABLE_SECONDS else deaths + 1
            self._set("restarting", reason)
            # Whatever kills engines may be a request: its sender must not end the server.
            await _back_off(deaths, _LONGEST_PAUSE_SECONDS)
            failures = 0
            while True:
                try:
                    connection = await self._load()
                    self._restarts += 1
                    break
                except EngineError as error:
                    reason = f"restarting the engine failed: {error}"
                failures += 1
                if failures > self._max_restarts:
                    self._give_up(failures, reason)
                    return
                self._set("restarting", reason)
                await _back_off(failures, _LONGEST_BACKOFF_SECONDS)

    async def _watch(self, connection: Connection) -> str:
        """Returns how the engine failed, once it has and is gone; ends it when cancelled."""
        kindly = False
        try:
            return await self._watchdog.until_it_fails(connection)
        except asyncio.CancelledError:
            connection.send(Shutdown())
            kindly = True
            raise
        finally:
            self._connection = None
            await connection.end(kindly=kindly)

    def _lose(self, reason: str) -> None:
        """Ends the requests that the failed engine had; keeps those that it cannot have seen."""
        self._compile_calls.fail(reason)
        for request_id, request in list(self._requests.items()):
            seen = request.begun or self._watchdog.pong > request.sent_after_ping
            if seen or request.resent:
                request.items.put_nowait(
                    EngineError(f"{reason}; it is being restarted, please send the request again")
                )
                self._forget(request_id)
            request.resent = True

    def _give_up(self, attempts: int, reason: str) -> None:
        detail = f"the engine could not be started in {attempts} attempts; the last time, {reason}"
        self._set("dead", detail)
        self._fail_all(EngineError(detail))
        self._gone.set()


async def _back_off(failures: int, longest: float) -> None:
    """Waits, each time longer, but not after the first failure."""
    if failures > 1:
        # The exponent is bounded, too: there may be any number of failures.
        await asyncio.sleep(min(_FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 2, 16), longest))
