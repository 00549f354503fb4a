"""The engine process: loads a model, then runs steps and answers the client until told to end.

Started by `engine_process.py` as `python -m cierzo.engine.process.main FD`, where FD is its end of
a socket pair. A thread reads the socket into a queue, and answers pings for the process; all else
happens in the loop, which answers them too, between two steps. The engine is the loop's alone:
what other threads make for it comes through the queue.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import numpy as np

from cierzo.engine.engine import Engine
from cierzo.engine.errors import EngineError, PromptTooLong
from cierzo.engine.loading.load import LoadError, load
from cierzo.engine.messages import (
    Abort,
    Add,
    Beat,
    CacheCleared,
    ClearCache,
    Compile,
    CompileFailure,
    CompileResult,
    Failure,
    Forget,
    FromEngine,
    LoadFailed,
    Loading,
    Note,
    Outputs,
    Ping,
    Pong,
    Ready,
    SetVocabulary,
    Shutdown,
    Start,
    StepOutput,
    ToEngine,
    encode_frame,
    reads_to_engine,
)
from cierzo.engine.process.compile_worker import (
    CompileWorker,
    Made,
    Prepared,
    VocabularyReady,
)
from cierzo.engine.process.rest import Rest
from cierzo.grammar.constraint import Constraint
from cierzo.log import Forward

if TYPE_CHECKING:
    from cierzo.grammar.compiler import Compiled


class _Woken:
    """Something that a stalled engine waits for has happened."""


# Messages from the client, and what threads have done.
Inbox: TypeAlias = "queue.SimpleQueue[ToEngine | Made | _Woken]"

Send: TypeAlias = "Callable[[FromEngine], None]"

_READ_BYTES = 1 << 18
# A thread that computes in Python keeps the others from it so long at most. The loop takes the
# interpreter up several times a step.
_SWITCH_SECONDS = 0.001
_PR_SET_PDEATHSIG = 1


def main() -> NoReturn:
    """Entry point. Exits by itself when the other end of the socket closes."""
    faulthandler.enable()
    _tie_to_parent()
    connection = socket.socket(fileno=int(sys.argv[1]))
    inbox: Inbox = queue.SimpleQueue()
    lock = threading.Lock()

    def send(message: FromEngine) -> None:
        frame = encode_frame(message)
        with lock:
            connection.sendall(frame)

    def tell(*event: Any) -> None:
        with contextlib.suppress(OSError):  # which is seen when reading
            send(Note(*event))

    Forward(tell)
    sys.setswitchinterval(_SWITCH_SECONDS)
    hooks = _Hooks()
    threading.Thread(target=_read, args=(connection, inbox, send, hooks), daemon=True).start()
    try:
        _serve(inbox, send, hooks)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the client is gone


def _tie_to_parent() -> None:
    """Ends with the parent, and only then: signals meant for the server are the parent's to handle.

    A terminal sends Ctrl-C, and systemd SIGTERM, to every process of a service; the engine must
    go on, so that the parent can let running requests finish.
    """
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@dataclass
class _Hooks:
    """What the reading thread calls of the engine, once there is one."""

    close: Callable[[], None] | None = None
    abort: Callable[[str], None] | None = None  # a request that the loop will drop soon


def _read(connection: socket.socket, inbox: Inbox, send: Send, hooks: _Hooks) -> None:
    """Moves messages from the socket to the queue; ends the process with the connection, or when
    it is told to."""
    reader = reads_to_engine()
    while True:
        try:
            data = connection.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            os._exit(0)
        for message in reader.feed(data):
            if isinstance(message, Shutdown):
                if hooks.close is not None:
                    hooks.close()
                os._exit(0)
            if isinstance(message, Ping):
                with contextlib.suppress(OSError):  # which is seen when reading
                    send(Beat(message.serial))
            # First, or the loop might have dropped it already, and never would again.
            if isinstance(message, Abort) and hooks.abort is not None:
                hooks.abort(message.request_id)
            inbox.put(message)


def _serve(inbox: Inbox, send: Send, hooks: _Hooks) -> NoReturn:
    start = inbox.get()
    if not isinstance(start, Start):
        raise TypeError(f"the first message must be Start, not {type(start).__name__}")
    try:
        engine, info = load(start.launch, lambda detail: send(Loading(detail)))
    except LoadError as error:
        send(LoadFailed(str(error)))
        os._exit(1)
    hooks.close, hooks.abort = engine.cache.close, engine.interruption.abort
    send(Ready(info))
    loop = Loop(engine, inbox)
    while True:
        intake = loop.read(send)
        outputs = [] if engine.stalled else engine.step()
        if outputs or intake.refused or intake.dropped:
            given = (*intake.refused, *outputs)
            send(Outputs(given, engine.stats()))
            loop.note_ended(o.request_id for o in given if o.finish_reason is not None)


class Intake(NamedTuple):
    """What the client must hear of at once, of the messages that have come."""

    refused: list[StepOutput]
    dropped: bool  # whether any request was


class Loop:
    """What happens between two steps: the messages that have come."""

    def __init__(self, engine: Engine, inbox: Inbox) -> None:
        self._engine = engine
        self._inbox = inbox
        self._rest = Rest(engine)
        self._compiling = CompileWorker(engine.vocab_size, inbox.put)
        woken = _Woken()
        self._constraints: dict[str, Constraint] = {}  # of requests that are not over
        engine.progress.on_progress = lambda: inbox.put(woken)

    def read(self, send: Send) -> Intake:
        """Takes messages in, and waits for them while there is nothing to compute."""
        engine = self._engine
        refused: list[StepOutput] = []
        dropped = False
        while not refused and (not engine.has_work() or engine.stalled or not self._inbox.empty()):
            message = self._rest.next(self._inbox)
            if isinstance(message, Add):
                if not self._compiling.prepare(message):
                    refused += self._add(message)
            elif isinstance(message, Prepared):
                refused += self._add_prepared(message)
            elif isinstance(message, Abort):
                was_preparing = self._compiling.drop(message.request_id)
                self.note_ended((message.request_id,))
                dropped = engine.abort(message.request_id) or was_preparing or dropped
                if dropped and not engine.has_work():
                    break
            elif not isinstance(message, _Woken):
                self._serve(message, send)
        return Intake(refused, dropped)

    def note_ended(self, request_ids: Iterable[str]) -> None:
        """Makes ready for the next turns of sessions, now that they have their answers."""
        for request_id in request_ids:
            constraint = self._constraints.pop(request_id, None)
            if constraint is not None:
                self._compiling.renew(constraint)

    def _serve(self, message: ToEngine | VocabularyReady | CompileResult, send: Send) -> None:
        """What concerns no request."""
        if isinstance(message, Ping):
            send(Pong(message.serial, self._engine.stats()))
        elif isinstance(message, SetVocabulary):
            self._compiling.set_vocabulary(message.source)
        elif isinstance(message, VocabularyReady):
            self._engine.grammars = message.grammars
        elif isinstance(message, Compile):
            self._compiling.check(message.serial, message.constraint)
        elif isinstance(message, Forget):
            self._compiling.forget(message.serial)
        elif isinstance(message, CompileResult):
            send(message)
        elif isinstance(message, ClearCache):
            send(CacheCleared(message.serial, self._engine.clear_cache(message.salt)))

    def _add_prepared(self, message: Prepared) -> list[StepOutput]:
        if not self._compiling.drop(message.add.request_id):
            return []  # aborted meanwhile
        result = message.result
        if isinstance(result, CompileFailure):
            kind: Failure = "failed" if result.fault == "engine" else "no_answer"
            return [_refusal(message.add, result.problem, kind)]
        self._constraints[message.add.request_id] = result.constraint
        return self._add(message.add, result)

    def _add(self, message: Add, compiled: Compiled | None = None) -> list[StepOutput]:
        """What there is to say if the engine refuses the request."""
        prompt = np.frombuffer(message.prompt, "<i4")
        try:
            self._engine.add(
                message.request_id,
                prompt,
                message.params,
                cache_salt=message.cache_salt,
                retain=message.retain,
                hints=message.hints,
                prediction=np.frombuffer(message.prediction, "<i4"),
                compiled=compiled,
            )
        except PromptTooLong as error:
            return [_refusal(message, str(error), "too_long")]
        except ValueError as error:
            return [_refusal(message, str(error), "invalid")]
        except EngineError as error:
            return [_refusal(message, str(error), "failed")]
        return []


def _refusal(message: Add, error: str, failure: Failure) -> StepOutput:
    return StepOutput(
        message.request_id,
        finish_reason="error",
        num_prompt_tokens=len(message.prompt) // 4,
        error=error,
        failure=failure,
    )


if __name__ == "__main__":
    main()
