"""Tells a client that finds the queue full when to try again: by how often requests finish."""

from __future__ import annotations

import math
import time
from collections import deque

_UNKNOWN_SECONDS = 5
_LONGEST_SECONDS = 60


class RetryAfter:
    """The times at which the last requests finished."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=32)

    def mark(self) -> None:
        """Notes that a request has finished."""
        self._times.append(time.monotonic())

    def seconds_to_next(self) -> int:
        """Seconds until another request is likely to finish."""
        times = self._times
        if len(times) < 2:
            return _UNKNOWN_SECONDS
        mean = (times[-1] - times[0]) / (len(times) - 1)
        return min(_LONGEST_SECONDS, max(1, math.ceil(mean)))
