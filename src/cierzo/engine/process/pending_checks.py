"""The client's questions about constraints that the engine has not answered yet."""

from __future__ import annotations

import asyncio
import itertools

from cierzo.engine.errors import EngineError
from cierzo.engine.messages import Compile, CompileFailure, CompileResult, Forget
from cierzo.engine.process.engine_process import EngineProcess
from cierzo.grammar.constraint import Constraint


class PendingChecks:
    """Checks that were asked for and wait for an answer. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[CompileFailure | None]] = {}
        self._serials = itertools.count()

    async def ask(self, process: EngineProcess, constraint: Constraint) -> CompileFailure | None:
        """The engine's answer. Raises EngineError if the engine is lost meanwhile."""
        serial = next(self._serials)
        answer: asyncio.Future[CompileFailure | None] = asyncio.get_running_loop().create_future()
        self._waiting[serial] = answer
        try:
            process.send(Compile(serial, constraint))
            return await answer
        except asyncio.CancelledError:
            process.send(Forget(serial))
            raise
        finally:
            del self._waiting[serial]

    def receive(self, message: CompileResult) -> None:
        """Gives an answer to whoever asked."""
        answer = self._waiting.get(message.serial)
        if answer is not None and not answer.done():
            answer.set_result(message.failure)

    def fail(self, reason: str) -> None:
        """Ends all checks with an error: the engine is lost."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(EngineError(reason))
