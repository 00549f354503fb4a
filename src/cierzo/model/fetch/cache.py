"""Where Cierzo keeps what it fetched itself, and one process at a time putting it there."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cierzo.model.errors import ModelError


def cache_folder() -> Path:
    """`CIERZO_CACHE`, or `cierzo` in the user's cache folder (XDG). It may not exist yet."""
    own = os.environ.get("CIERZO_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    base = Path(shared) if os.path.isabs(shared) else Path.home() / ".cache"
    return base / "cierzo"


@contextmanager
def only_one(target: Path) -> Iterator[None]:
    """Lets one process at a time make `target`. Inside, check again whether it is there."""
    make_folder(target.parent)
    lock = target.with_name(f".{target.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unwritable(lock, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # the kernel lets go when the process ends
        yield
    finally:
        os.close(descriptor)


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` for partial files, gone afterwards. Hold `only_one(target)`.

    What an earlier process left there when it was killed is removed first.
    """
    prefix = f".{target.name}.partial-"
    for left in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    except OSError as error:
        raise _unwritable(target.parent, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Makes a cache folder with its parents."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raises ModelError when the disk of `folder` has not `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"{folder}: {what} needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free; "
            "make room or set CIERZO_CACHE (HF_HOME for Hugging Face models) to another disk"
        )


def _unwritable(path: Path, error: OSError) -> ModelError:
    return ModelError(
        f"{path}: cannot be written ({error.strerror}); set CIERZO_CACHE to a folder that can"
    )
