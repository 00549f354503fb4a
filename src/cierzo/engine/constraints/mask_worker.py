"""Computes the masks of constrained sequences while the forward pass runs.

A mask takes tens of microseconds, or, where a grammar is made to be slow, tens of milliseconds. So
those that took least so far go first, and a wait for masks may end with some of them unfinished.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from cierzo.engine.constraints.constrained import Constrained


def fill(constrained: Constrained) -> None:
    """Fills one mask. If that fails, no token is left, which ends the answer."""
    began = time.perf_counter()
    try:
        if not constrained.abandoned:
            constrained.fill_mask()
    except BaseException:  # a panic of the library's, too: it ends this answer alone
        constrained.mask.fill(0)
    constrained.mask_cost = time.perf_counter() - began
    constrained.mask_seconds += constrained.mask_cost


class MaskWorker:
    """A thread that fills masks."""

    def __init__(self, on_late: Callable[[], None]) -> None:
        """`on_late` is called on the thread when a mask is finished that `wait` gave up."""
        self._on_late = on_late
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="masks")
        self._heap: list[tuple[float, int, Constrained]] = []  # by the time they took so far
        self._serials = itertools.count()
        self._state = threading.Condition()
        self._late: set[Constrained] = set()

    def begin(self, sequences: Sequence[Constrained]) -> None:
        """Starts filling the masks of sequences, none of which is being filled."""
        with self._state:
            for constrained in sequences:
                entry = (constrained.mask_seconds, next(self._serials), constrained)
                heapq.heappush(self._heap, entry)
        self._thread.submit(self._fill)

    def wait(self, sequences: Sequence[Constrained], seconds: float) -> list[Constrained]:
        """Waits for masks, but not longer than `seconds`. Returns those that are late."""
        with self._state:
            self._state.wait_for(lambda: all(one.mask_ready for one in sequences), seconds)
            late = [one for one in sequences if not one.mask_ready]
            self._late.update(late)
        return late

    def _fill(self) -> None:
        """Fills masks until there is none left to fill."""
        while True:
            with self._state:
                if not self._heap:
                    return
                _, _, constrained = heapq.heappop(self._heap)
            fill(constrained)
            with self._state:
                constrained.mask_ready = True
                was_late = constrained in self._late
                self._late.discard(constrained)
                self._state.notify_all()
            if was_late:
                self._on_late()
