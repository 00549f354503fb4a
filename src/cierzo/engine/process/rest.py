"""When nobody has asked anything for some minutes, memory goes back to the system."""

from __future__ import annotations

import queue
import time
from typing import TypeVar

from cierzo.engine.engine import Engine
from cierzo.log import Log

_log = Log("cache")

# A person's pauses are mostly shorter (TraceLab: half of them than 86 s), and one that is longer
# waits for a disk, not for a computation.
REST_SECONDS = 300.0

M = TypeVar("M")


class Rest:
    """Watches over an engine that waits for messages."""

    def __init__(self, engine: Engine, seconds: float = REST_SECONDS) -> None:
        self._engine = engine
        self._seconds = seconds
        self._rested: float | None = None  # the idleness in which memory was given back

    def next(self, inbox: queue.SimpleQueue[M]) -> M:
        """The next message. If it is long in coming, the engine rests meanwhile."""
        engine = self._engine
        if engine.has_work() or engine.idle_since == self._rested:
            return inbox.get()
        left = engine.idle_since + self._seconds - time.monotonic()
        try:
            return inbox.get(timeout=max(left, 0.0))
        except queue.Empty:
            self._rested = engine.idle_since
            _log.info("idle: memory is given back", blocks=engine.rest())
            return inbox.get()
