"""The asyncio client of the engine process: requests in flight, and what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from uuid import uuid4

import numpy as np

from cierzo.engine.cache.hints import NO_HINTS, Hints
from cierzo.engine.errors import EngineError, QueueFull, error_of
from cierzo.engine.messages import (
    Abort,
    Add,
    CacheCleared,
    ClearCache,
    Compile,
    CompileResult,
    EngineInfo,
    EngineLaunch,
    EngineStats,
    Fault,
    Forget,
    FromEngine,
    Outputs,
    Pong,
    SetVocabulary,
    StepOutput,
)
from cierzo.engine.process.engine_process import COMMAND, EngineProcess
from cierzo.engine.process.pending_answers import PendingAnswers
from cierzo.engine.process.retry_after import RetryAfter
from cierzo.engine.process.status import EngineStatus
from cierzo.engine.process.supervisor import Supervisor
from cierzo.engine.sampling_params import SamplingParams
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.errors import BeginningError, GrammarError
from cierzo.grammar.vocabulary import TokenBytes

_MOST_SOUND = 256  # constraints that are known to compile
_FAULTS: dict[Fault, type[Exception]] = {
    "grammar": GrammarError,
    "beginning": BeginningError,
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


def _packed(tokens: Sequence[int]) -> bytes:
    return np.asarray(tokens, dtype="<i4").tobytes()


class EngineClient:
    """Feeds requests to an engine process that a `Supervisor` keeps alive.

    Belongs to the event loop that `start` ran on. When an engine fails, the requests that it had
    taken in end with `EngineError`; those that it cannot have seen, and new ones, are given to its
    successor, but to no more than one.
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
        self._max_queue = launch.settings.max_queue
        self._supervisor = Supervisor(
            launch,
            self,
            watchdog_seconds=watchdog_seconds,
            load_seconds=load_seconds,
            max_restarts=max_restarts,
            command=command,
        )
        self._stats = EngineStats()
        self._requests: dict[str, _Request] = {}
        self._vocabulary: TokenBytes | None = None
        self._checks: PendingAnswers[CompileResult] = PendingAnswers()
        self._sound: OrderedDict[int, None] = OrderedDict()  # hashes of constraints that compiled
        self._clearings: PendingAnswers[CacheCleared] = PendingAnswers()
        self._retry_after = RetryAfter()
        self._stopping = False
        self._idle = asyncio.Event()  # no request is left, or the wait for them is over

    async def start(self) -> None:
        """Starts the process and returns when it is ready.

        Raises EngineError with the engine's one line when it cannot load.
        """
        await self._supervisor.start()

    @property
    def status(self) -> EngineStatus:
        """How the engine is now."""
        return self._supervisor.status

    @property
    def info(self) -> EngineInfo:
        """What the engine is. Raises EngineError before it was ready for the first time."""
        info = self._supervisor.info
        if info is None:
            raise EngineError(f"the engine is not ready: {self.status.detail}")
        return info

    @property
    def stats(self) -> EngineStats:
        """The last numbers heard from the engine, at most about a second old."""
        return self._stats

    @property
    def restarts(self) -> int:
        """How often a failed engine has been replaced by one that was ready."""
        return self._supervisor.restarts

    @property
    def num_requests(self) -> int:
        """Requests that have not finished."""
        return len(self._requests)

    def set_vocabulary(self, source: TokenBytes) -> None:
        """Tells this engine, and every one after it, the tokens that constraints are made of."""
        self._vocabulary = source
        if self._supervisor.process is not None:
            self._supervisor.process.send(SetVocabulary(source))

    async def check_constraint(self, constraint: Constraint) -> None:
        """Has the engine compile a constraint whose request is about to come, and keep it for that.

        One that it compiled before, as the turns of a session have it, will do again: the request
        need not wait for a step to end first. Raises GrammarError for one that cannot be compiled
        (BeginningError if its grammar does not allow the beginning of the answer), and EngineError
        if the engine cannot do it.
        """
        process, name = self._process(), hash(constraint)
        if name in self._sound:
            self._sound.move_to_end(name)
            return
        result = await self._checks.ask(process, lambda serial: Compile(serial, constraint), Forget)
        if result.failure is not None:
            raise _FAULTS[result.failure.fault](result.failure.problem)
        self._sound[name] = None
        if len(self._sound) > _MOST_SOUND:
            self._sound.popitem(last=False)

    async def clear_cache(self, salt: str) -> int:
        """Has the engine forget what is cached for a salt and not needed now. How many tokens.

        Raises EngineError if there is no engine.
        """
        process = self._process()
        cleared = await self._clearings.ask(process, lambda serial: ClearCache(serial, salt))
        return cleared.num_tokens

    def _process(self) -> EngineProcess:
        if self._supervisor.process is None:
            raise EngineError(f"the engine is not ready: {self.status.detail}")
        return self._supervisor.process

    async def generate(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        *,
        request_id: str | None = None,
        cache_salt: str = "",
        retain: bool = True,
        hints: Hints = NO_HINTS,
        prediction: Sequence[int] = (),
    ) -> AsyncGenerator[StepOutput, None]:
        """Yields what each step gives the request; the last one has a `finish_reason`.

        Closing the generator, or cancelling the task that runs it, aborts the request exactly
        once; its blocks are free within one step. Nothing is sent before the first iteration.
        It shares what is cached with requests of the same `cache_salt` alone, and comes sooner if
        the answer is like `prediction`.

        Raises QueueFull; what the engine says of a request that it does not take in (PromptTooLong,
        InvalidRequest); and EngineError when the engine dies, hangs, stops, or fails this request
        (NoAnswer where no answer has the form that is asked for).
        """
        add = Add(
            request_id or uuid4().hex,
            _packed(prompt),
            params,
            cache_salt,
            retain,
            _packed(prediction),
            hints,
        )
        request = self._admit(add)
        request_id = request.add.request_id
        try:
            while True:
                item = await request.items.get()
                if isinstance(item, EngineError):
                    raise item
                if item.finish_reason == "error":
                    raise error_of(item, self.info.max_model_len)
                yield item
                if item.finish_reason is not None:
                    return
        finally:
            if self._requests.get(request_id) is request:  # not finished
                self._forget(request_id)
                if self._supervisor.process is not None:
                    self._supervisor.process.send(Abort(request_id))

    async def wait_dead(self) -> str:
        """Returns, with the reason, once the engine cannot be brought back (or was stopped)."""
        await self._supervisor.gone.wait()
        return self.status.detail

    async def stop(self, grace: float) -> None:
        """Takes no new requests, lets running ones finish for `grace` seconds, then ends.

        What still runs then gets EngineError. The process is gone when this returns; calling
        it again, or cancelling it, ends the wait at once.
        """
        if self._stopping:
            self._idle.set()
            await self._supervisor.gone.wait()
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
            await self._supervisor.stop()

    def _admit(self, add: Add) -> _Request:
        """Sends a request, which the engine checks, or keeps it for one that is being restarted."""
        info = self.info
        if self._stopping or self._supervisor.gone.is_set():
            raise EngineError("the server is stopping" if self._stopping else self.status.detail)
        if add.request_id in self._requests:
            raise ValueError(f"request id {add.request_id!r} is in use")
        waiting = len(self._requests) - info.max_batch_sequences
        if waiting >= self._max_queue:
            raise QueueFull(waiting, self._retry_after.seconds_to_next())
        request = self._requests[add.request_id] = _Request(add)
        if self._supervisor.process is not None:
            self._send(self._supervisor.process, request)
        return request

    def _send(self, process: EngineProcess, request: _Request) -> None:
        request.sent_after_ping = self._supervisor.watchdog.ping
        process.send(request.add)

    def _forget(self, request_id: str) -> None:
        del self._requests[request_id]
        if not self._requests and self._stopping:
            self._idle.set()

    def _fail_all(self, error: EngineError) -> None:
        for request_id, request in list(self._requests.items()):
            request.items.put_nowait(error)
            self._forget(request_id)

    def on_ready(self, process: EngineProcess) -> None:
        """For the supervisor: an engine takes requests from now on."""
        info = self.info
        self._stats = EngineStats(
            free_blocks=info.num_blocks,
            num_blocks=info.num_blocks,
            threads=info.threads,
            threads_in_use=info.threads,
        )
        if self._vocabulary is not None:
            process.send(SetVocabulary(self._vocabulary))
        for request in self._requests.values():
            self._send(process, request)

    def on_lost(self, reason: str) -> None:
        """For the supervisor: ends the requests that the failed engine had; keeps those that it
        cannot have seen."""
        self._checks.fail(reason)
        self._clearings.fail(reason)
        for request_id, request in list(self._requests.items()):
            seen = request.begun or self._supervisor.watchdog.pong > request.sent_after_ping
            if seen or request.resent:
                request.items.put_nowait(
                    EngineError(f"{reason}; it is being restarted, please send the request again")
                )
                self._forget(request_id)
            request.resent = True

    def on_dead(self, detail: str) -> None:
        """For the supervisor: no engine can be started any more."""
        self._fail_all(EngineError(detail))

    def on_message(self, message: FromEngine) -> None:
        """For the supervisor: takes in a message of the engine."""
        if isinstance(message, Outputs):
            self._stats = message.stats
            for output in message.outputs:
                request = self._requests.get(output.request_id)
                if request is None:  # aborted while this was on its way
                    continue
                request.begun = True
                request.items.put_nowait(output)
                if output.finish_reason is not None:
                    self._retry_after.mark()
                    self._forget(output.request_id)
        elif isinstance(message, CompileResult):
            self._checks.receive(message)
        elif isinstance(message, CacheCleared):
            self._clearings.receive(message)
        elif isinstance(message, Pong):
            self._stats = message.stats
