"""The store: what is whole is found again, what is not is empty; who goes first when it is full."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cierzo.engine.cache.disk.folders import About, Bound, WorldFolder
from cierzo.engine.cache.disk.jobs import Load, Place, Save
from cierzo.engine.cache.disk.records import Record, RecordForm, name_of
from cierzo.engine.cache.disk.store import Store
from cierzo.engine.cache.prefix_tree import Node
from tests.engine.cache.memory import make

SLOT = 4_096
BLOCK = 4  # tokens
WORLD = bytes(range(16))
FORM = RecordForm(BLOCK, WORLD)
ROOT = name_of(WORLD, b"")


def tokens_of(*ids: int) -> bytes:
    return b"".join(i.to_bytes(4, "little") for i in ids)


def record_of(parent: bytes, tokens: bytes, used: int = 0) -> Record:
    return Record(name_of(parent, tokens), parent, ROOT, used, 7, tokens)


class Disk:
    """A store of so many slots, whose records are written at once."""

    def __init__(self, folder: Path, slots: int) -> None:
        about = About("m", BLOCK, SLOT, 1, SLOT, WORLD.hex())
        self.folder = WorldFolder(folder, WORLD.hex(), about)
        files = self.folder.blocks, self.folder.headers
        self.store = Store(files, FORM, SLOT, Bound(self.folder, slots * (SLOT + FORM.num_bytes)))

    def add(self, parent: bytes, *ids: int) -> Record | None:
        slot = self.store.take()
        if slot is None:
            return None
        record = record_of(parent, tokens_of(*ids), self.store.now())
        os.pwrite(self.folder.headers, FORM.pack(slot, record), slot * FORM.num_bytes)
        self.store.add(slot, record)
        return record

    def has(self, record: Record) -> bool:
        return self.store.find(record.name, record.tokens) is not None

    def touch(self, record: Record) -> None:
        slot = self.store.find(record.name, record.tokens)
        assert slot is not None
        self.store.touch(slot)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Disk]]:
    """Opens the same folder anew, with so many slots."""
    opened: list[Disk] = []

    def again(slots: int) -> Disk:
        for before in opened:
            before.folder.close()
        opened.append(Disk(tmp_path, slots))
        return opened[-1]

    yield again
    opened[-1].folder.close()


Open = Callable[[int], Disk]


def test_a_record_is_read_as_it_was_written_or_not_at_all() -> None:
    record = record_of(ROOT, tokens_of(5, 6, 7))
    data = FORM.pack(3, record)
    assert len(data) == FORM.num_bytes
    assert FORM.unpack(3, data) == record
    assert FORM.unpack(4, data) is None
    assert RecordForm(BLOCK, WORLD[::-1]).unpack(3, data) is None
    assert FORM.unpack(3, FORM.empty) is None
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        assert FORM.unpack(3, bytes(damaged)) in (None, record)  # what fills it up tells nothing
    for length in range(len(data)):  # written in part, over nothing or over another one
        assert FORM.unpack(3, data[:length].ljust(len(data), b"\0")) in (None, record)
        other = FORM.pack(3, record_of(ROOT, tokens_of(1, 2, 3, 4)))
        assert FORM.unpack(3, data[:length] + other[length:]) in (
            None,
            record,
            FORM.unpack(3, other),
        )


def test_who_was_used_longest_ago_goes_first_but_no_one_before_those_that_follow(
    disk: Open,
) -> None:
    one = disk(4)
    first = one.add(ROOT, 1, 1, 1, 1)
    assert first is not None
    second = one.add(first.name, 2, 2, 2, 2)
    other = one.add(ROOT, 3, 3, 3, 3)
    last = one.add(ROOT, 4, 4, 4, 4)
    assert second is not None
    assert other is not None
    assert last is not None
    one.touch(second)
    assert one.add(ROOT, 5, 5, 5, 5)
    assert [one.has(r) for r in (first, second, other, last)] == [True, True, False, True]
    assert one.add(ROOT, 6, 6, 6, 6)
    assert [one.has(r) for r in (first, second, other, last)] == [True, True, False, False]
    assert one.add(ROOT, 7, 7, 7, 7)
    # The first counts as used when the one that followed it was.
    assert [one.has(r) for r in (first, second)] == [True, False]


def test_a_slot_that_is_read_or_written_is_not_taken(disk: Open) -> None:
    one = disk(2)
    records = [one.add(ROOT, i, i, i, i) for i in (1, 2)]
    slots = [one.store.find(r.name, r.tokens) for r in records if r is not None]
    held = [slot for slot in slots if slot is not None]
    one.store.hold(held)
    one.store.hold(held[:1])
    assert one.store.take() is None
    one.store.let_go(held)
    assert one.store.take() == held[1]
    assert one.store.take() is None  # of two who read it, one still does
    one.store.drop(held[0])
    assert one.store.take() is None
    one.store.let_go(held[:1])
    assert one.store.take() == held[0]


def test_a_tail_goes_when_what_it_begins_comes(disk: Open) -> None:
    one = disk(9)
    tail, other = one.add(ROOT, 1, 2), one.add(ROOT, 1, 3)
    assert one.add(ROOT, 1, 2, 3, 4)
    assert tail is not None
    assert other is not None
    assert [one.has(tail), one.has(other)] == [False, True]
    assert len(one.store) == 2


def test_the_name_alone_is_not_believed(disk: Open) -> None:
    one = disk(2)
    record = one.add(ROOT, 1, 2, 3, 4)
    assert record is not None
    assert one.store.find(record.name, tokens_of(1, 2, 3, 5)) is None


@pytest.mark.parametrize("seed", range(5))
def test_all_is_there_when_it_is_opened_again(disk: Open, seed: int) -> None:
    rng = random.Random(seed)
    one = disk(30)
    names = [ROOT]
    for i in range(200):
        record = one.add(rng.choice(names[-12:]), i, i, i, i)
        if record is not None:
            names.append(record.name)
    found = {slot: one.store.record(slot) for slot in range(30)}
    assert len(one.store) == sum(record is not None for record in found.values()) > 20
    again = disk(30)
    for slot, record in found.items():
        if record is not None:
            written = again.store.record(slot)
            assert written is not None
            assert written.name == record.name
    smaller = disk(10)
    assert len(smaller.store) <= 10
    assert os.fstat(smaller.folder.blocks).st_size <= 10 * SLOT
    assert all(smaller.store.record(slot) is None for slot in range(10, 30))


class Blocks:
    """Two blocks, of which the first changes; and a process that ends while it writes."""

    def __init__(self) -> None:
        self.contents = [b"a" * SLOT, bytes(SLOT)]
        self.before_save: Callable[[], None] = lambda: None
        self.written = SLOT

    def save_block(self, block: int, file: int, offset: int) -> int:
        self.before_save()
        os.pwrite(file, self.contents[block][: self.written], offset)
        if self.written < SLOT:
            raise KeyboardInterrupt
        return hash(self.contents[block]) & 0xFFFF

    def load_block(self, block: int, file: int, offset: int) -> int:
        self.contents[block] = os.pread(file, SLOT, offset)
        return hash(self.contents[block]) & 0xFFFF


def saved(disk: Disk, blocks: Blocks, cancel: bool = False) -> Save:
    """A block is written by hand."""
    place = Place(blocks, disk.folder.blocks, disk.folder.headers, FORM, SLOT)
    slot = disk.store.take()
    assert slot is not None
    save = Save(Node(None, b"", 0), slot, 0, record_of(ROOT, tokens_of(1, 2, 3, 4), 1))
    if cancel:
        blocks.before_save = lambda: setattr(save, "cancelled", True)
    save.run(place)
    return save


def test_a_block_that_is_taken_while_it_is_written_is_not_on_disk(disk: Open) -> None:
    assert saved(disk(2), Blocks(), cancel=True).saved is None
    assert len(disk(2).store) == 0
    assert saved(disk(2), Blocks()).saved is not None
    assert len(disk(2).store) == 1


@pytest.mark.parametrize("written", [0, 100, SLOT - 1])
def test_a_block_that_is_written_in_part_is_not_on_disk(disk: Open, written: int) -> None:
    one = disk(1)
    save = saved(one, Blocks())
    assert save.saved is not None
    one.store.add(save.slot, save.saved)
    blocks = Blocks()
    blocks.written = written
    blocks.contents[0] = b"b" * SLOT
    with pytest.raises(KeyboardInterrupt):
        saved(one, blocks)  # into the same slot, over the other one
    assert len(disk(1).store) == 0


def test_a_block_that_does_not_belong_to_its_record_is_not_taken(disk: Open) -> None:
    """As after a loss of power, when the record may be on disk and the block not."""
    one, blocks = disk(1), Blocks()
    save = saved(one, blocks)
    assert save.saved is not None
    place = Place(blocks, one.folder.blocks, one.folder.headers, FORM, SLOT)

    def load() -> Load:
        read = Load(make([1]), [save.slot], [save.saved] if save.saved else [], [1], BLOCK)
        read.run(place)
        return read

    assert load().num_loaded == 1
    assert blocks.contents[1] == blocks.contents[0]
    os.pwrite(one.folder.blocks, b"x", 77)
    assert load().num_loaded == 0
    assert load().damaged == save.slot
    os.ftruncate(one.folder.blocks, 0)
    assert load().damaged == save.slot
