"""The store: a file of equal slots, one block in each, and a file of records that say which.

The engine's thread alone decides what is where; other threads only move bytes. A slot is written in
this order: its record is cleared, its block written, its record written. So whenever a process is
killed, a record that is whole belongs to the block beside it; whatever else happens to a disk, the
digest of the block tells.

A slot that is needed is taken from the block used longest ago of those that no other one follows.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from cierzo.engine.cache.disk.folders import Bound
from cierzo.engine.cache.disk.records import Record, RecordForm

_GROWTH_BYTES = 1 << 25  # how much more is asked for at a time
_AGAIN_SECONDS = 10.0


class Store:
    """Which slot holds what."""

    def __init__(
        self,
        files: tuple[int, int],
        form: RecordForm,
        slot_bytes: int,
        bound: Bound,
    ) -> None:
        """Reads the records. `files` are those of blocks and of records; what is in them beyond
        the bound goes, and what other worlds have beyond it."""
        self.blocks_file, self.records_file = files
        self.form = form
        self.slot_bytes = slot_bytes
        self._bound = bound
        self._records: dict[int, Record] = {}  # by slot
        self._slots: dict[bytes, int] = {}  # by name
        self._followers: dict[bytes, set[int]] = {}  # slots, by the name of their parent
        self._free: list[int] = []
        self._busy: Counter[int] = Counter()  # slots that other threads read or write, how often
        self._leaves: list[tuple[int, int]] = []  # heap of (used, slot); some are void
        self._last_use = 0
        self._refused = -_AGAIN_SECONDS
        self._shrink()
        self._read()
        self._num_slots = len(self._records) + len(self._free)  # those that there are
        self._allowed = self._num_slots  # and those that there may be

    def __len__(self) -> int:
        """Blocks that are in it."""
        return len(self._records)

    def __contains__(self, name: bytes) -> bool:
        return name in self._slots

    def record(self, slot: int) -> Record | None:
        """What a slot holds."""
        return self._records.get(slot)

    def find(self, name: bytes, tokens: bytes) -> int | None:
        """The slot of the block of that name, if it has these tokens."""
        slot = self._slots.get(name)
        return slot if slot is not None and self._records[slot].tokens == tokens else None

    def followers(self, name: bytes) -> list[int]:
        """The slots of the blocks that follow the prefix of that name."""
        return list(self._followers.get(name, ()))

    def of_root(self, root: bytes) -> list[int]:
        """The slots of all blocks of a root."""
        return [slot for slot, record in self._records.items() if record.root == root]

    # --- changes --------------------------------------------------------------------------------

    def take(self) -> int | None:
        """A slot to write to: unused, or else the one worth least; None if all are needed.

        It is busy until `add` or `give_back`.
        """
        slot = self._unused()
        while slot is None and self._leaves:
            used, leaf = heappop(self._leaves)
            record = self._records.get(leaf)
            if leaf in self._busy or record is None or record.used != used:
                continue
            if not self._followers.get(record.name):
                self._forget(leaf)
                slot = leaf
        if slot is not None:
            self._busy[slot] += 1
        return slot

    def give_back(self, slot: int) -> None:
        """A slot that was taken holds nothing."""
        del self._busy[slot]
        self._free.append(slot)

    def add(self, slot: int, record: Record) -> None:
        """A slot that was taken holds this now.

        Tails that are a beginning of it have nothing that it has not.
        """
        del self._busy[slot]
        for other in self.followers(record.parent):
            if record.tokens.startswith(self._records[other].tokens) and other not in self._busy:
                self.drop(other)
        if record.name in self._slots:
            self._free.append(slot)
        else:
            self._put(slot, record)

    def drop(self, slot: int) -> None:
        """What a slot holds is not wanted."""
        if slot in self._records:
            self._forget(slot)
            if slot not in self._busy:
                self._free.append(slot)

    def hold(self, slots: Iterable[int]) -> None:
        """Others read these slots: nothing is written to them."""
        self._busy.update(slots)

    def let_go(self, slots: Iterable[int]) -> None:
        """Nobody reads these slots any more."""
        for slot in slots:
            self._busy[slot] -= 1
            if self._busy[slot]:
                continue
            del self._busy[slot]
            if slot in self._records:
                self._note_leaf(slot)
            else:
                self._free.append(slot)

    def touch(self, slot: int) -> Record:
        """The block was used just now; its record, to be written."""
        record = dataclasses.replace(self._records[slot], used=self.now())
        self._records[slot] = record
        self._note_leaf(slot)
        return record

    def now(self) -> int:
        """The time in nanoseconds, but always later than before."""
        self._last_use = max(self._last_use + 1, time.time_ns())
        return self._last_use

    # --- inside ---------------------------------------------------------------------------------

    def _shrink(self) -> None:
        each = self.slot_bytes + self.form.num_bytes
        most = self._bound.most_bytes // each
        size = os.fstat(self.records_file).st_size
        if size > most * self.form.num_bytes:
            os.ftruncate(self.records_file, most * self.form.num_bytes)
            os.ftruncate(self.blocks_file, most * self.slot_bytes)
        self._bound.allows(min(size // self.form.num_bytes, most) * each, urgent=True)

    def _read(self) -> None:
        size = self.form.num_bytes
        data = memoryview(_read_all(self.records_file))
        for slot in range(len(data) // size):
            record = self.form.unpack(slot, data[slot * size : (slot + 1) * size])
            if record is None or record.name in self._slots:
                self._free.append(slot)
            else:
                self._put(slot, record)
                self._last_use = max(self._last_use, record.used)
        self._free.reverse()

    def _put(self, slot: int, record: Record) -> None:
        self._records[slot] = record
        self._slots[record.name] = slot
        self._followers.setdefault(record.parent, set()).add(slot)
        self._note_leaf(slot)

    def _forget(self, slot: int) -> None:
        """Its parent may be the next to go, but not as if it had not been used with it."""
        record = self._records.pop(slot)
        del self._slots[record.name]
        siblings = self._followers[record.parent]
        siblings.discard(slot)
        if siblings:
            return
        del self._followers[record.parent]
        parent = self._slots.get(record.parent)
        if parent is not None:
            held = self._records[parent]
            self._records[parent] = dataclasses.replace(held, used=max(held.used, record.used))
            self._note_leaf(parent)

    def _note_leaf(self, slot: int) -> None:
        heappush(self._leaves, (self._records[slot].used, slot))
        if len(self._leaves) > 2 * len(self._records) + 64:
            self._leaves = [(record.used, slot) for slot, record in self._records.items()]
            heapify(self._leaves)

    def _unused(self) -> int | None:
        """A slot that holds nothing, if there is one, or may be."""
        if self._free:
            return self._free.pop()
        if self._num_slots >= self._allowed and not self._grow():
            return None
        self._num_slots += 1
        return self._num_slots - 1

    def _grow(self) -> bool:
        """Whether there may be more slots. What is refused is not asked for again at once."""
        if time.monotonic() < self._refused + _AGAIN_SECONDS:
            return False
        each = self.slot_bytes + self.form.num_bytes
        more = max(1, _GROWTH_BYTES // self.slot_bytes)
        while more:
            if self._bound.allows((self._num_slots + more) * each, urgent=more == 1):
                self._allowed = self._num_slots + more
                return True
            more //= 2
        self._refused = time.monotonic()
        return False


def _read_all(number: int) -> bytes:
    size = os.fstat(number).st_size
    parts = []
    offset = 0
    while offset < size:
        part = os.pread(number, size - offset, offset)
        if not part:
            break
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
