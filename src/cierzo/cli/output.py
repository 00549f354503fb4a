"""How commands speak to people: answers on stdout, everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

    from cierzo.model.fetch.progress import Progress


def error(line: str) -> None:
    """One line on what went wrong."""
    note(f"cierzo: error: {line}")


def note(line: str) -> None:
    """One line about what happens."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def download_progress() -> Iterator[Progress]:
    """Shows downloads on stderr: bars in a terminal, otherwise a line when each begins and ends.

    rich is imported with the first report, so a model on disk costs nothing.
    """
    report = _Bars() if sys.stderr.isatty() else _Lines()
    try:
        yield report
    finally:
        report.close()


class _Lines:
    """For logs."""

    def __init__(self) -> None:
        self._begun: set[str] = set()
        self._ended: set[str] = set()

    def __call__(self, label: str, done: int, total: int) -> None:
        if label not in self._begun:
            self._begun.add(label)
            note(f"fetching {label} ({total / 1e6:,.0f} MB)")
        if done >= total and label not in self._ended:
            self._ended.add(label)
            note(f"fetched {label}")

    def close(self) -> None:
        """Nothing is left to end."""


class _Bars:
    """For people."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        if not self._tasks:
            self._progress.start()
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=total)
        self._progress.update(self._tasks[label], completed=done, total=total)

    def close(self) -> None:
        """Leaves the bars as they are."""
        if self._tasks:
            self._progress.stop()
