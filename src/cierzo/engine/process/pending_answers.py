"""The client's questions that the engine has not answered yet."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

from cierzo.engine.errors import EngineError
from cierzo.engine.messages import CacheCleared, CompileResult, ToEngine
from cierzo.engine.process.engine_process import EngineProcess

R = TypeVar("R", CompileResult, CacheCleared)
Question: TypeAlias = Callable[[int], ToEngine]  # with the serial that the answer will have


class PendingAnswers(Generic[R]):
    """Questions of one kind that wait for an answer. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[R]] = {}
        self._serials = itertools.count()

    async def ask(
        self, process: EngineProcess, question: Question, taken_back: Question | None = None
    ) -> R:
        """The engine's answer; `taken_back` tells it that nobody waits for it any more.

        Raises EngineError if the engine is lost meanwhile.
        """
        serial = next(self._serials)
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting[serial] = answer
        try:
            process.send(question(serial))
            return await answer
        except asyncio.CancelledError:
            if taken_back is not None:
                process.send(taken_back(serial))
            raise
        finally:
            del self._waiting[serial]

    def receive(self, reply: R) -> None:
        """Gives an answer to whoever asked."""
        answer = self._waiting.get(reply.serial)
        if answer is not None and not answer.done():
            answer.set_result(reply)

    def fail(self, reason: str) -> None:
        """Ends all questions with an error: the engine is lost."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(EngineError(reason))
