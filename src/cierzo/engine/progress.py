"""What a stalled engine waits for: something that threads do for it, and that is finished."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Progress:
    """Whether any thread finished something since the engine last looked."""

    def __init__(self) -> None:
        self.on_progress: Callable[[], None] = _nothing  # called on threads
        self._made = threading.Event()

    @property
    def made(self) -> bool:
        """Whether something was finished since `clear`."""
        return self._made.is_set()

    def clear(self) -> None:
        """Before looking what is finished: what is finished meanwhile counts as new."""
        self._made.clear()

    def wait(self) -> None:
        """Waits until something is finished."""
        self._made.wait()

    def notify(self) -> None:
        """Something is finished. For threads."""
        self._made.set()
        self.on_progress()


def _nothing() -> None:
    pass
