"""Where the disk tier lies: a folder for each world, open to its owner alone, for one engine each.

A **world** is all that enters the bits of a block (`identity.py`): what one world has computed is
of no use in another. All worlds together keep to one bound: for the sake of the one in use, those
go that were used longest ago.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cierzo.engine.errors import EngineError
from cierzo.model.fetch.cache import cache_folder

ABOUT, BLOCKS, HEADERS, LOCK = "about", "blocks", "headers", "lock"
_FILES = (ABOUT, BLOCKS, HEADERS, LOCK)
_ABOUT_BYTES = 4_096
_WORLD = re.compile("[0-9a-f]{32}")
# Of the disk, so much stays free for others: a share of it, but never more than so many bytes.
_SPARE_SHARE, _SPARE_BYTES = 0.02, 1 << 30


class DiskTierError(EngineError):
    """A folder cannot be used, for a reason in one line."""


@dataclass(frozen=True)
class About:
    """What people may want to know of a world, and how its files are laid out."""

    model: str
    block_size: int  # tokens
    block_bytes: int
    block_parts: int  # of the same size, whose digests are chained
    slot_bytes: int
    world: str


def default_folder(chosen: str | None) -> Path:
    """The folder of all worlds: the chosen one, or `kv` where Cierzo keeps what it fetched."""
    return Path(chosen).expanduser() if chosen else cache_folder() / "kv"


class WorldFolder:
    """A world's folder, which is this process's alone until `close`. Its files are open."""

    def __init__(
        self, base: Path, world: str, about: About | None = None, *, patience: float = 0.0
    ) -> None:
        """Makes the folder where there is `about`; waits for who has it, but not for long.

        Raises DiskTierError.
        """
        self.path = base / world
        self._open: list[int] = []
        try:
            if about is not None:
                base.mkdir(mode=0o700, parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    self.path.mkdir(mode=0o700)
            self._folder = self._own(os.open(self.path, _FLAGS | os.O_DIRECTORY))
            os.fchmod(self._folder, 0o700)
            self._lock(patience)
            self.blocks, self.headers = self.file(BLOCKS), self.file(HEADERS)
            if about is not None:
                self._tell(about)
        except OSError as error:
            self.close()
            raise DiskTierError(f"{self.path}: {error.strerror}") from error
        except BaseException:
            self.close()
            raise

    def file(self, name: str) -> int:
        """Opens a file of the folder for reading and writing, making it if need be."""
        flags = _FLAGS | os.O_RDWR | os.O_CREAT
        number = self._own(os.open(name, flags, 0o600, dir_fd=self._folder))
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise DiskTierError(f"{self.path / name} is not a file; remove it")
        os.fchmod(number, 0o600)
        return number

    def remove(self) -> None:
        """Deletes the world."""
        for name in _FILES:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._folder)
        with contextlib.suppress(OSError):  # something of somebody else's is in it
            self.path.rmdir()
        self.close()

    def close(self) -> None:
        """Lets others have it."""
        while self._open:
            os.close(self._open.pop())

    def _own(self, number: int) -> int:
        """Notes an open file or folder. Raises DiskTierError if it is somebody else's."""
        self._open.append(number)
        if os.fstat(number).st_uid != os.geteuid():
            raise DiskTierError(f"{self.path} belongs to another user; choose --kv-cache-dir")
        return number

    def _lock(self, patience: float) -> None:
        """The kernel lets go of a lock when its process ends."""
        lock = self.file(LOCK)
        end = time.monotonic() + patience
        while True:
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise DiskTierError(f"{self.path} is in use by another process") from None
                time.sleep(0.05)

    def _tell(self, about: About) -> None:
        text = json.dumps(vars(about)).encode()
        if os.pread(number := self.file(ABOUT), _ABOUT_BYTES, 0) != text:
            os.ftruncate(number, 0)
            os.pwrite(number, text, 0)


_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


def read_about(path: Path) -> About | None:
    """What a world's folder says of itself; None if it says nothing that makes sense."""
    try:
        with (path / ABOUT).open("rb") as file:
            about = About(**json.loads(file.read(_ABOUT_BYTES)))
    except (OSError, ValueError, TypeError):
        return None
    return about if about.world == path.name else None


def world_paths(base: Path) -> list[Path]:
    """The folders of all worlds, the one used last at the end."""
    try:
        found = [path for path in base.iterdir() if _WORLD.fullmatch(path.name)]
        found = [path for path in found if (path / HEADERS).is_file()]
    except OSError:
        return []
    return sorted(found, key=_last_use)


def bytes_on_disk(path: Path) -> int:
    """What a world's files take."""
    total = 0
    for name in _FILES:
        with contextlib.suppress(OSError):
            total += os.stat(path / name).st_blocks * 512
    return total


class Bound:
    """How much room there is for one world, beside the others and whatever else is on the disk."""

    def __init__(self, folder: WorldFolder, most_bytes: int) -> None:
        self._folder = folder
        self.most_bytes = most_bytes

    def allows(self, num_bytes: int, *, urgent: bool) -> bool:
        """Whether a world may take so many bytes in all. If it is urgent, worlds that nobody uses
        go for it."""
        if num_bytes > self.most_bytes or not self._has_spare():
            return False
        while True:
            others = self._others()
            if num_bytes + sum(size for _, size in others) <= self.most_bytes:
                return True
            if not urgent or not any(self._remove(path) for path, _ in others):
                return False

    def _has_spare(self) -> bool:
        disk = os.statvfs(self._folder.path)
        spare = min(_SPARE_BYTES, disk.f_blocks * disk.f_frsize * _SPARE_SHARE)
        return disk.f_bavail * disk.f_frsize >= spare

    def _others(self) -> list[tuple[Path, int]]:
        paths = world_paths(self._folder.path.parent)
        return [(path, bytes_on_disk(path)) for path in paths if path != self._folder.path]

    def _remove(self, path: Path) -> bool:
        """Deletes a world, unless somebody uses it."""
        with contextlib.suppress(DiskTierError), free_world(path) as world:
            world.remove()
            return True
        return False


@contextlib.contextmanager
def free_world(path: Path) -> Iterator[WorldFolder]:
    """A world that nobody else uses meanwhile. Raises DiskTierError if somebody does."""
    world = WorldFolder(path.parent, path.name)
    try:
        yield world
    finally:
        world.close()


def _last_use(path: Path) -> float:
    try:
        return (path / HEADERS).stat().st_mtime
    except OSError:
        return 0.0
