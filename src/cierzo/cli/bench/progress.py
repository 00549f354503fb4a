"""How far a measurement is, on stderr."""

from __future__ import annotations

import sys
import threading

from cierzo.cli.output import note


class Progress:
    """Counts what is done: one line that changes in a terminal, otherwise some lines for logs."""

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._done = 0
        self._lock = threading.Lock()
        self._terminal = sys.stderr.isatty()
        self._step = max(1, -(-total // 10))  # about ten lines

    def __call__(self, what: str) -> None:
        """One more is done. Any thread may say so."""
        with self._lock:
            self._done += 1
            line = f"{self._label}: {self._done} of {self._total}, {what}"
            if self._terminal:
                end = "\n" if self._done == self._total else ""
                print(f"\r\033[K{line}", end=end, file=sys.stderr, flush=True)
            elif self._done % self._step == 0 or self._done == self._total:
                note(line)
