"""How downloads tell of their progress."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called now and then during a download, from any thread."""

    def __call__(self, label: str, done: int, total: int) -> None:
        """`done` of `total` bytes of what `label` names are here. Ends with done == total."""
        ...


def silent(label: str, done: int, total: int) -> None:
    """Shows no progress."""
