"""Cuts the running step where that brings forward what is left once a request was aborted.

A step of a large prompt takes long. If its request goes meanwhile, the others would wait for what
nobody wants. So the step is cut, and what it computed for the others is computed again in the next
one, which is short.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Expected(Protocol):
    """What is known of a step before it is computed."""

    request_ids: frozenset[str]

    def seconds_without(self, request_ids: frozenset[str]) -> float:
        """What it would take without some of its requests."""
        ...


class Interruption:
    """Whether the running step is to be cut. `abort` may be called on any thread."""

    def __init__(self, set_cut: Callable[[bool], None]) -> None:
        """`set_cut`: what makes a running step end."""
        self._set_cut = set_cut
        self._lock = threading.Lock()
        self._aborted: set[str] = set()  # which the engine has not dropped yet
        self._step: Expected | None = None  # that is running, and may be cut
        self._began = 0.0
        self._spared = False  # the last step was cut at somebody's cost

    def begin(self, expected: Expected) -> None:
        """A step begins."""
        with self._lock:
            self._began = time.perf_counter()
            self._step = expected
            self._cut_if_it_pays()

    def end(self, *, was_cut: bool) -> None:
        """The step has ended."""
        with self._lock:
            others = self._step is not None and bool(self._step.request_ids - self._aborted)
            self._spared = was_cut and others
            self._step = None
            self._set_cut(False)

    def abort(self, request_id: str) -> None:
        """A request is about to be dropped."""
        with self._lock:
            self._aborted.add(request_id)
            self._cut_if_it_pays()

    def dropped(self, request_id: str) -> None:
        """It was."""
        with self._lock:
            self._aborted.discard(request_id)

    def _cut_if_it_pays(self) -> None:
        """Those who stay must have their results in half the time that is left, and no two steps
        in a row are cut at their cost: so nobody keeps them from going on by a stream of aborts."""
        step = self._step
        if step is None or not step.request_ids & self._aborted:
            return
        if step.request_ids <= self._aborted:
            self._set_cut(True)
            return
        expected, taken = step.seconds_without(frozenset()), time.perf_counter() - self._began
        # One that takes far longer than expected may take as long again.
        left = expected - taken if taken < 2 * expected else expected
        if not self._spared and 2 * step.seconds_without(frozenset(self._aborted)) < left:
            self._set_cut(True)
