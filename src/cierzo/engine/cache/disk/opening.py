"""From settings and a model to its disk tier."""

from __future__ import annotations

from typing import Protocol

from cierzo.engine.cache.disk.folders import (
    About,
    Bound,
    DiskTierError,
    WorldFolder,
    default_folder,
)
from cierzo.engine.cache.disk.jobs import BlockFiles
from cierzo.engine.cache.disk.records import RecordForm
from cierzo.engine.cache.disk.store import Store
from cierzo.engine.cache.disk.tier import DiskTier
from cierzo.log import Log
from cierzo.settings import EngineSettings

_log = Log("cache")

FORMAT = 1  # of the files; what another format wrote is of no use
_PAGE_BYTES = 4_096
_PATIENCE_SECONDS = 1.0  # an engine that was killed may take so long to be gone


class Model(BlockFiles, Protocol):
    """What the tier asks of the model: `cierzo.model.runner.ModelRunner` has it."""

    @property
    def world(self) -> bytes:
        """Names all that enters the bits of a block."""
        ...

    @property
    def block_bytes(self) -> int:
        """Bytes of a block."""
        ...

    @property
    def block_parts(self) -> int:
        """Parts of it whose digests are chained."""
        ...

    @property
    def block_size(self) -> int:
        """Tokens in a block."""
        ...


def open_disk_tier(model: Model, name: str, settings: EngineSettings) -> DiskTier | None:
    """The disk tier of a model; `name` is for people. None, and a line in the log that says why,
    if there is none; just None if the settings want none."""
    if settings.kv_cache_disk_gb == 0 or settings.prefix_cache == "off":
        return None
    world = bytes([FORMAT]) + model.world[:15]
    pages = -(-model.block_bytes // _PAGE_BYTES)
    about = About(
        model=name,
        block_size=model.block_size,
        block_bytes=model.block_bytes,
        block_parts=model.block_parts,
        slot_bytes=pages * _PAGE_BYTES,
        world=world.hex(),
    )
    base = default_folder(settings.kv_cache_dir)
    try:
        folder = WorldFolder(base, world.hex(), about, patience=_PATIENCE_SECONDS)
        try:
            store = Store(
                (folder.blocks, folder.headers),
                RecordForm(model.block_size, world),
                about.slot_bytes,
                Bound(folder, int(settings.kv_cache_disk_gb * 1e9)),
            )
        except OSError as error:
            folder.close()
            raise DiskTierError(f"{base}: {error.strerror}") from error
    except DiskTierError as error:
        _log.warning("no KV cache on disk", reason=str(error))
        return None
    _log.info("KV cache on disk", path=str(folder.path), blocks=len(store))
    return DiskTier(store, model, world, model.block_size, folder.close)
