"""How long is waited for a disk that does not answer: a network's may not do so for ever.

What takes so long is computed, and nothing more is read until the disk has answered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cierzo.log import Log

_log = Log("cache")

STALL_SECONDS = 5.0  # for one block: a disk that was asleep takes less


class Patience:
    """With what is being read. It ends once, and is renewed when the disk has answered."""

    def __init__(self) -> None:
        self.is_over = False
        self._since = 0.0  # seconds of the monotonic clock
        self._alarm: threading.Timer | None = None

    def begin(self, wake: Callable[[], None]) -> None:
        """Something is to be read. `wake` is called on a thread when it is time to look."""
        if self._alarm is None and not self.is_over:
            self._since = time.monotonic()
            self._wait(STALL_SECONDS, wake)

    def ends(self, moved: float, wake: Callable[[], None]) -> bool:
        """Whether it is over now, where a block was read last at that time."""
        left = max(self._since, moved) + STALL_SECONDS - time.monotonic()
        if self.is_over or (self._alarm is not None and self._alarm.is_alive() and left > 0.0):
            return False
        if left > 0.0:
            self._wait(left, wake)
            return False
        self._stop()
        self.is_over = True
        _log.warning("the disk does not answer, what it has is computed", seconds=STALL_SECONDS)
        return True

    def renew(self) -> None:
        """The disk has answered, or nobody waits any more."""
        self._stop()
        if self.is_over:
            self.is_over = False
            _log.info("the disk answers again")

    def _wait(self, seconds: float, wake: Callable[[], None]) -> None:
        self._alarm = threading.Timer(seconds, wake)
        self._alarm.daemon = True
        self._alarm.start()

    def _stop(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
