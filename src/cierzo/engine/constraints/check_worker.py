"""Verifies finished values on threads beside the engine's, while their sequences wait.

To hold a value to its schema is work in Python, and for some schemas much of it. One thread at a
time works, for a few milliseconds; then it is the turn of the one that has done least. So the
engine's own thread has one other beside it at most, and a short check does not wait for long ones.
What comes out is the same in any order: it depends on the value alone.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cierzo.engine.constraints.constrained import Change, Constrained, ConstraintError


class _Abandoned(Exception):
    """Ends a check from within."""


class Check:
    """One sequence's values, being verified; `change` or `error` once `finished`."""

    def __init__(self, constrained: Constrained) -> None:
        self.constrained = constrained
        self.finished = False
        self.change: Change | None = None
        self.error: ConstraintError | None = None
        self._abandoned = False

    def abandon(self) -> None:
        """Ends the check soon: nobody waits for it any more."""
        self._abandoned = True

    def go_on(self) -> None:
        """Called now and then by the thread that works on it."""
        if self._abandoned:
            raise _Abandoned


class CheckWorker:
    """The threads that verify."""

    def __init__(self, most: int, on_finished: Callable[[], None]) -> None:
        """`most` checks begin at once; `on_finished` is called on their threads."""
        self._on_finished = on_finished
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="check")
        self._lock = _FairLock()

    def begin(self, constrained: Constrained) -> Check:
        """Starts verifying what `constrained.accept` left to be verified."""
        check = Check(constrained)
        self._threads.submit(self._run, check)
        return check

    def _run(self, check: Check) -> None:
        constrained = check.constrained

        def pause() -> None:
            check.go_on()
            constrained.pauses += 1
            self._lock.offer(constrained.pauses)

        self._lock.acquire(constrained.pauses)
        try:
            check.go_on()
            check.change = constrained.settle(pause)
        except ConstraintError as error:
            check.error = error
        except _Abandoned:
            pass
        except BaseException as error:  # a defect, or a library's panic, ends this answer alone
            check.error = ConstraintError(
                f"the answer cannot be verified: {type(error).__name__}: {error}"[:300]
            )
        finally:
            self._lock.release()
            check.finished = True
            self._on_finished()


class _FairLock:
    """A lock that goes to the thread that has done least; `done` is how much it has done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_held = False
        self._waiting: list[tuple[int, int, threading.Event]] = []
        self._serials = itertools.count()

    def acquire(self, done: int) -> None:
        """Waits until this thread has the lock."""
        turn = threading.Event()
        with self._lock:
            if not self._is_held:
                self._is_held = True
                return
            heapq.heappush(self._waiting, (done, next(self._serials), turn))
        turn.wait()

    def release(self) -> None:
        """Gives the lock to the waiting thread that has done least."""
        with self._lock:
            if self._waiting:
                heapq.heappop(self._waiting)[2].set()
            else:
                self._is_held = False

    def offer(self, done: int) -> None:
        """Gives it away for a while if somebody waits who has done no more."""
        with self._lock:
            if not self._waiting or self._waiting[0][0] > done:
                return
        self.release()
        self.acquire(done)
