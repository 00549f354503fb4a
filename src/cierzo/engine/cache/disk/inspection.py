"""What lies in a folder of the disk tier, for people: read without an engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cierzo.backends.cpu.identity import digest_of_file
from cierzo.engine.cache.disk.folders import (
    BLOCKS,
    HEADERS,
    About,
    DiskTierError,
    bytes_on_disk,
    free_world,
    read_about,
    world_paths,
)
from cierzo.engine.cache.disk.records import Record, RecordForm


@dataclass(frozen=True)
class World:
    """What one world has."""

    world: str
    model: str
    bytes: int  # on disk
    blocks: int
    tokens: int
    tenants: int
    used: float  # seconds since 1970; 0 if never
    in_use: bool


def worlds(base: Path) -> Iterator[World]:
    """All worlds of a folder, the one used last at the end. Raises DiskTierError."""
    for path in world_paths(base):
        about = read_about(path)
        records = [record for _, record in _records(path, about) if record] if about else []
        yield World(
            world=path.name,
            model=about.model if about else "unknown",
            bytes=bytes_on_disk(path),
            blocks=len(records),
            tokens=sum(record.num_tokens for record in records),
            tenants=len({record.root for record in records}),
            used=max((record.used for record in records), default=0) / 1e9,
            in_use=_in_use(path),
        )


def damaged(path: Path) -> int:
    """How many blocks of a world are not as they were written. Raises DiskTierError if an engine
    uses it, or nothing can be said of it."""
    about = read_about(path)
    if about is None:
        raise DiskTierError(f"{path} does not say what it is; `cierzo cache clear` removes it")
    with free_world(path) as world:
        count = 0
        for slot, record in _records(path, about):
            where = slot * about.slot_bytes
            if record is None or record.digest != digest_of_file(
                world.blocks, where, about.block_bytes, about.block_parts
            ):
                count += 1
        return count


def clear(path: Path) -> None:
    """Deletes a world. Raises DiskTierError if an engine uses it."""
    with free_world(path) as world:
        world.remove()


def _records(path: Path, about: About) -> Iterator[tuple[int, Record | None]]:
    """All records that are not empty, by slot; None for one that is not as it was written."""
    form = RecordForm(about.block_size, bytes.fromhex(about.world))
    try:
        data = (path / HEADERS).read_bytes()
    except OSError as error:
        raise DiskTierError(f"{path}: {error.strerror}") from error
    for slot in range(len(data) // form.num_bytes):
        part = data[slot * form.num_bytes : (slot + 1) * form.num_bytes]
        if part != form.empty:
            yield slot, form.unpack(slot, part)


def _in_use(path: Path) -> bool:
    if not os.access(path / BLOCKS, os.W_OK):
        return False
    try:
        with free_world(path):
            return False
    except DiskTierError:
        return True
