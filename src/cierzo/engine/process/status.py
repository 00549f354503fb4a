"""How the engine is, as `/health` tells it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

EngineState: TypeAlias = Literal["loading", "ready", "restarting", "dead", "stopped"]


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state that the engine is in, and when it began."""

    state: EngineState
    detail: str  # one line: what is being loaded, or what went wrong
    since: float  # time.time() when this state began
