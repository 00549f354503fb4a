"""How the server is: one decision, for `/health` and for every request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cierzo.engine.process.status import EngineStatus


class State(StrEnum):
    """Of the server. It takes requests when it is ready, and when a new engine is on its way."""

    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    DEAD = "dead"  # the engine is gone for good
    STOPPING = "stopping"


@dataclass(frozen=True)
class Status:
    """A state, with one line on what is being loaded or what went wrong."""

    state: State
    detail: str
    since: float  # Unix time at which the engine's state began

    @property
    def ending(self) -> bool:
        """Whether the engine is gone for good, or is about to be."""
        return self.state in (State.DEAD, State.STOPPING)


def status_of(engine: EngineStatus, *, has_language: bool, stopping: bool) -> Status:
    """The engine's state, unless the server itself is ending, or is still reading the tokenizer."""
    if stopping or engine.state == "stopped":
        return Status(State.STOPPING, "the server is shutting down", engine.since)
    if has_language or engine.state in ("loading", "dead"):
        return Status(State(engine.state), engine.detail, engine.since)
    return Status(State.LOADING, "reading the tokenizer", engine.since)
