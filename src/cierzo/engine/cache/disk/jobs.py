"""What threads do for the disk tier: write a block behind, read blocks ahead, write a record.

They only move bytes. What is where the engine's thread decides, before and after.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cierzo.engine.cache.disk.records import Record, RecordForm
from cierzo.engine.cache.prefix_tree import Node
from cierzo.engine.sequence import Sequence
from cierzo.log import Log

_log = Log("cache")

_AHEAD = 4  # slots that the kernel reads while others are checked
_PUNCH_HOLE = 3  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE


class BlockFiles(Protocol):
    """The part of the runner that moves blocks, with the interpreter lock released."""

    def save_block(self, block: int, file: int, offset: int) -> int:
        """Writes what a block holds to a file; its digest. Raises OSError."""
        ...

    def load_block(self, block: int, file: int, offset: int) -> int:
        """Fills a block from a file; the digest of what was read. Raises OSError."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where slots lie."""

    files: BlockFiles
    blocks: int
    records: int
    form: RecordForm
    slot_bytes: int

    def write_record(self, slot: int, data: bytes) -> None:
        """Writes the record of a slot."""
        if os.pwrite(self.records, data, slot * self.form.num_bytes) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def wipe(self, slot: int) -> None:
        """Overwrites what a slot held; where it can be done, its place is given back besides."""
        offset = slot * self.slot_bytes
        if not _punch_hole(self.blocks, offset, self.slot_bytes):
            os.pwrite(self.blocks, bytes(self.slot_bytes), offset)


@dataclass(eq=False, slots=True)
class Save:
    """A block to be written to a slot. Its digest is not known yet.

    The block may be taken for something else at any time; `cancelled` is set before that. What was
    written until then counts only if that has not happened by the time that all is written.
    """

    node: Node
    slot: int
    block: int
    record: Record
    cancelled: bool = False
    unwanted: bool = False  # even if it was written
    saved: Record | None = None
    error: OSError | None = None

    def run(self, place: Place) -> None:
        """On a thread."""
        if self.cancelled:
            return
        try:
            place.write_record(self.slot, place.form.empty)
            offset = self.slot * place.slot_bytes
            digest = place.files.save_block(self.block, place.blocks, offset)
            if self.cancelled:
                return
            old = self.record
            record = Record(old.name, old.parent, old.root, old.used, digest, old.tokens)
            place.write_record(self.slot, place.form.pack(self.slot, record))
            self.saved = record
        except OSError as error:
            self.error = error


@dataclass(eq=False, slots=True)
class Load:
    """Consecutive blocks of a sequence to be read, the first ones first."""

    sequence: Sequence
    slots: list[int]
    records: list[Record]
    blocks: list[int]
    num_tokens: int  # that are wanted; the last block may have others besides
    most_seconds: float = math.inf  # after which the rest had better be computed
    cancelled: bool = False
    num_loaded: int = 0
    damaged: int | None = None  # the slot that could not be read, or not as it was written
    seconds: float = 0.0
    moved: float = 0.0  # when it was begun, or a block was read: seconds of the monotonic clock

    def run(self, place: Place) -> None:
        """On a thread."""
        started = self.moved = time.monotonic()
        loads = zip(self.slots, self.records, self.blocks, strict=True)
        for number, (slot, record, block) in enumerate(loads):
            if self.cancelled or self.moved > started + self.most_seconds:
                break
            self._announce(place, number + _AHEAD)
            digest = None
            with contextlib.suppress(OSError):
                digest = place.files.load_block(block, place.blocks, slot * place.slot_bytes)
            if digest != record.digest:
                self.damaged = slot
                break
            self.num_loaded += 1
            self.moved = time.monotonic()
        self.seconds = time.monotonic() - started

    @property
    def is_cut(self) -> bool:
        """Whether it ended because it took too long."""
        return self.num_loaded < len(self.slots) and not self.cancelled and self.damaged is None

    def _announce(self, place: Place, number: int) -> None:
        """Has the kernel begin to read a slot that comes later."""
        if number < len(self.slots) and sys.platform == "linux":
            offset = self.slots[number] * place.slot_bytes
            advice = os.POSIX_FADV_WILLNEED
            os.posix_fadvise(place.blocks, offset, place.slot_bytes, advice)


def _punch_hole(file: int, offset: int, num_bytes: int) -> bool:
    """Makes a part of a file read as zeros, without storing them. Linux alone can."""
    if sys.platform != "linux":
        return False
    place, length = ctypes.c_int64(offset), ctypes.c_int64(num_bytes)
    punched: int = ctypes.CDLL(None).fallocate(file, _PUNCH_HOLE, place, length)
    return punched == 0


@dataclass(slots=True)
class IoThread:
    """Does one thing after the other. Starts with the first."""

    name: str
    nice: int = 0  # how far it steps back for threads that compute
    _todo: queue.SimpleQueue[Callable[[], None] | None] = field(default_factory=queue.SimpleQueue)
    _thread: threading.Thread | None = None

    def put(self, work: Callable[[], None]) -> None:
        """Something to do after all else."""
        self._todo.put(work)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()

    def close(self, seconds: float) -> bool:
        """Waits so long for what there is to do; whether all of it is done."""
        if self._thread is None:
            return True
        self._todo.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        if self.nice and sys.platform == "linux":  # where each thread has its own
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self.nice)
        while (work := self._todo.get()) is not None:
            try:
                work()
            except Exception as defect:  # who waits for others must not wait for ever
                _log.error("the disk cache failed", exception=type(defect).__name__)
            del work  # and all that hangs on it
