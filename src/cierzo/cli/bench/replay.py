"""Sessions at once, each turn after turn, as that many agents would send them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cierzo.cli.bench.recordings.reading import Trace, for_session
from cierzo.cli.bench.recordings.turn import Turn
from cierzo.cli.bench.target import Answered, Target
from cierzo.engine.errors import EngineError


@dataclass(frozen=True)
class Pace:
    """How long an agent pauses before a turn that is not its first."""

    seconds: float | None  # None: as long as the trace says
    limit_s: float  # at most, of what the trace says

    def before(self, turn: Turn) -> float:
        if self.seconds is not None:
            return self.seconds
        return min(turn.think_s or 0.0, self.limit_s)


@dataclass(frozen=True)
class Played:
    """A turn that was answered."""

    session: int  # from 1
    turn: int  # from 1
    trace: str
    began_s: float  # after the first request of all
    answered: Answered


@dataclass(frozen=True)
class Run:
    """All turns of all sessions, in the order of sessions and turns."""

    played: tuple[Played, ...]
    wall_s: float  # pauses included


def replay(
    target: Target,
    traces: Sequence[Trace],
    *,
    max_tokens: int,
    pace: Pace,
    seed: int,
    progress: Callable[[str], None],
) -> Run:
    """Plays a session a trace. EngineError as soon as a turn fails: the rest would not compare."""
    done: queue.SimpleQueue[Played | EngineError] = queue.SimpleQueue()
    over = threading.Event()
    began = time.perf_counter()

    def play(session: int, trace: Trace) -> None:
        for number, turn in enumerate(trace.turns, 1):
            if number > 1 and over.wait(pace.before(turn)):
                return
            at = time.perf_counter() - began
            messages = for_session(turn, session, seed)
            try:
                answered = target.ask(messages, max_tokens=max_tokens, tools=trace.tools)
            except EngineError as error:
                done.put(EngineError(f"session {session}, turn {number}: {error}"))
                return
            except Exception as error:  # what a server sent broke the reading of it
                done.put(EngineError(f"session {session}, turn {number}: {error!r}"))
                return
            done.put(Played(session, number, trace.name, at, answered))

    # Daemons: who breaks off does not wait for a server's answers.
    for session, trace in enumerate(traces, 1):
        threading.Thread(target=play, args=(session, trace), daemon=True).start()
    played: list[Played] = []
    try:
        for _ in range(sum(len(trace.turns) for trace in traces)):
            item = done.get()
            if isinstance(item, EngineError):
                raise item
            played.append(item)
            progress(f"session {item.session} turn {item.turn} took {item.answered.wall_s:.2f} s")
    finally:
        over.set()
    wall = time.perf_counter() - began
    return Run(tuple(sorted(played, key=lambda one: (one.session, one.turn))), wall)
