"""A disk that takes its time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cierzo.engine.cache.disk import patience
from cierzo.engine.cache.disk.jobs import BlockFiles
from cierzo.engine.engine import Engine


class Slow:
    """Holds up whoever reads a block, or writes one, until it is let go."""

    def __init__(self) -> None:
        self._gate = threading.Event()
        self.saving = threading.Event()
        self._saves = False
        self._files: BlockFiles | None = None

    def hold(self, engine: Engine, *, saves: bool = False) -> None:
        disk = engine.cache.disk
        assert disk is not None
        self._files, self._saves = disk._place.files, saves
        object.__setattr__(disk._place, "files", self)

    def let_go(self) -> None:
        self._gate.set()

    def save_block(self, block: int, file: int, offset: int) -> int:
        assert self._files is not None
        self.saving.set()
        assert not self._saves or self._gate.wait(240)
        return self._files.save_block(block, file, offset)

    def load_block(self, block: int, file: int, offset: int) -> int:
        assert self._files is not None
        assert self._gate.wait(240)
        return self._files.load_block(block, file, offset)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    monkeypatch.setattr(patience, "STALL_SECONDS", 240.0)  # unless a test is about that
    held = Slow()
    yield held
    held.let_go()
