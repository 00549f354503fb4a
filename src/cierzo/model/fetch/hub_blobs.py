"""Brings a repository's large files into huggingface_hub's cache, resuming what broke off.

huggingface_hub 2 goes on after a cut connection, but throws the partial file away when its process
ends; 13 of 14 GB would be gone with it. Here the partial file stays beside the blob it becomes.
What is done here huggingface_hub finds in its cache, and only links.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cierzo.model.errors import ModelError
from cierzo.model.fetch.cache import make_folder, only_one
from cierzo.model.fetch.progress import Progress

if TYPE_CHECKING:
    from huggingface_hub.utils.tqdm import tqdm

# huggingface_hub writes in pieces of 10 MiB: of less there is nothing to resume. And it sends no
# file of more than 50 GB over plain HTTP; its own download has another way for those.
_SMALLEST, _LARGEST = 10 << 20, 50_000_000_000
_CHUNK = 1 << 22


@dataclass(frozen=True)
class HubFile:
    """A file of a repository as the hub lists it."""

    name: str
    size: int
    sha256: str | None  # of large files, which git LFS holds; also the blob's name in the cache


class Tally:
    """Adds up the bytes of several files for one progress shown."""

    def __init__(self, label: str, total: int, progress: Progress) -> None:
        self._label = label
        self._total = total
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """So many bytes more are here (or fewer, when a piece must be sent again)."""
        with self._lock:
            self._done += count
            self._progress(self._label, min(self._done, self._total), self._total)

    def finish(self) -> None:
        """All is here."""
        self._progress(self._label, self._total, self._total)


def fetch_blobs(repo: str, revision: str, files: list[HubFile], folder: Path, tally: Tally) -> None:
    """Downloads the large ones of `files` into `folder`/blobs, one after another.

    `folder` is the repository's in huggingface_hub's cache.
    """
    for file in files:
        if file.sha256 is None or not _SMALLEST < file.size < _LARGEST:
            continue
        blob = folder / "blobs" / file.sha256
        make_folder(blob.parent)
        with only_one(folder.parent / ".locks" / folder.name / f"{file.sha256}.cierzo"):
            if blob.exists():
                tally.add(file.size)
            else:
                _fetch_blob(repo, revision, file, blob, tally)


def _fetch_blob(repo: str, revision: str, file: HubFile, blob: Path, tally: Tally) -> None:
    from huggingface_hub import get_token, hf_hub_url
    from huggingface_hub.file_download import http_get

    token = get_token()
    partial = blob.with_name(f"{blob.name}.cierzo-partial")
    with partial.open("ab") as output:
        resumed = output.tell()
        http_get(
            hf_hub_url(repo, file.name, revision=revision),
            output,
            resume_size=resumed,
            headers={"authorization": f"Bearer {token}"} if token else {},
            expected_size=file.size,
            tqdm_class=progress_class(tally),
        )
    if resumed and _sha256(partial) != file.sha256:
        partial.unlink()
        raise ModelError(f"{repo}: {file.name} came damaged and was removed; try again")
    partial.replace(blob)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def progress_class(tally: Tally) -> type[tqdm]:
    """A tqdm class for huggingface_hub that shows nothing and counts for `tally`."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        """One file's bytes, or in snapshot_download all files': that one shows three bars, of
        files, of bytes over the network, and of bytes that are here; only the last counts.
        """

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts = kwargs.get("name") in (
                "huggingface_hub.http_get",
                "huggingface_hub.snapshot_download",
            )
            # huggingface_hub leaves this one method of its class untyped.
            super().__init__(*args, **(kwargs | {"disable": True}))  # type: ignore[no-untyped-call]
            self.update(kwargs.get("initial", 0))

        def update(self, n: float | None = 1) -> None:
            if self.counts and n:
                tally.add(int(n))

    return Bar
