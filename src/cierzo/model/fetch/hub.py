"""Fetches models from the Hugging Face hub: only the files that are needed, with resume.

huggingface_hub does the work and obeys its own variables: HF_TOKEN, HF_ENDPOINT, HF_HOME,
HF_HUB_OFFLINE. What is complete in its cache is used without asking the network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cierzo.model.errors import ModelError
from cierzo.model.fetch.cache import check_space
from cierzo.model.fetch.hub_blobs import HubFile, Tally, fetch_blobs, progress_class
from cierzo.model.fetch.hub_errors import explain
from cierzo.model.fetch.progress import Progress, silent
from cierzo.model.readers.fields import read_json
from cierzo.model.readers.huggingface import INDEX, is_hf_weights

REPO_ID = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}")
_WORKERS = 4
_SETTINGS = (
    "config.json",
    "generation_config.json",
    "params.json",
    "tekken.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    INDEX,
    "consolidated.safetensors.index.json",
)

# Chooses files of a repository by name. Raises ModelError if what it looks for is not there.
Selection: TypeAlias = Callable[[Iterable[str]], list[str]]


@dataclass(frozen=True)
class Snapshot:
    """A folder in the cache, and the selected files in it, all there."""

    folder: Path
    files: list[str]


@dataclass(frozen=True)
class _Listing:
    """A repository's newest commit and its files by name."""

    commit: str
    files: dict[str, HubFile]


def fetch_repository(
    repo: str, quant: str | None = None, *, refresh: bool = False, progress: Progress = silent
) -> Path:
    """A folder with the model of `repo`, or with `quant` the path of its GGUF of that type.

    Without `refresh`, what is complete in the cache is used as it is.
    """

    def select(names: Iterable[str]) -> list[str]:
        return select_gguf(repo, names, quant) if quant else select_weights(repo, names)

    snapshot = _fetch(repo, select, refresh=refresh, progress=progress)
    return snapshot.folder / snapshot.files[0] if quant else snapshot.folder


def fetch_file(repo: str, name: str, *, refresh: bool = False, progress: Progress = silent) -> Path:
    """One file of `repo`."""

    def select(names: Iterable[str]) -> list[str]:
        if name not in names:
            raise ModelError(f"{repo}: has no {name}")
        return [name]

    return _fetch(repo, select, refresh=refresh, progress=progress).folder / name


def select_weights(repo: str, names: Iterable[str]) -> list[str]:
    """The files that make up a model, out of all in its repository.

    A repository may hold the weights twice, as Devstral's does: sharded in Hugging Face's layout
    and in one consolidated file in Mistral's. The shards are taken: a download that breaks off
    loses less, several come at once, and config.json says more than params.json.
    """
    present = set(names)
    weights = [name for name in present if "/" not in name and is_hf_weights(name)]
    if INDEX in present:  # a stray single file beside the shards is not wanted
        weights = [name for name in weights if re.search(r"-\d+-of-\d+\.safetensors$", name)]
    if not weights or "config.json" not in present:
        weights = [name for name in present if re.fullmatch(r"consolidated.*\.safetensors", name)]
    if not weights:
        gguf = _gguf_files(present)
        if gguf:
            raise ModelError(
                f"{repo}: holds GGUF files; say which, as in {repo}:{_quant_of(gguf[0])}"
            )
        raise ModelError(
            f"{repo}: holds no safetensors or GGUF weights (pickled ones are never read); use "
            "another repository of the model"
        )
    return sorted(weights) + [name for name in _SETTINGS if name in present]


def select_gguf(repo: str, names: Iterable[str], quant: str) -> list[str]:
    """The one GGUF file whose name ends in `-quant.gguf` or `.quant.gguf`, in any case."""
    gguf = _gguf_files(names)
    matching = [name for name in gguf if _quant_of(name) == quant.lower()]
    if len(matching) == 1:
        return matching
    if matching:
        raise ModelError(f"{repo}: several files are {quant}: {', '.join(matching[:4])}; fetch one")
    types = ", ".join(dict.fromkeys(_quant_of(name) for name in gguf)) or "no GGUF files at all"
    raise ModelError(f"{repo}: has no GGUF of type {quant}; there are: {types[:300]}")


def _gguf_files(names: Iterable[str]) -> list[str]:
    """The GGUF files at the top of a repository that hold a text model (mmproj: vision)."""
    return sorted(
        name
        for name in names
        if name.endswith(".gguf") and "/" not in name and not name.startswith("mmproj")
    )


def _quant_of(name: str) -> str:
    return re.split(r"[-.]", name.lower())[-2]


def _fetch(
    repo: str,
    select: Selection,
    *,
    refresh: bool,
    progress: Progress,
) -> Snapshot:
    """A snapshot with the files that `select` chooses of those in the repository."""
    # Imported here: it takes 0.2 s, and a model on disk does without.
    from huggingface_hub import constants, snapshot_download

    if not refresh or constants.HF_HUB_OFFLINE:
        cached = _cached(repo, select)
        if cached is not None:
            return cached
    cache = Path(constants.HF_HUB_CACHE)
    try:
        listing = _listing(repo)
        names = select(listing.files)
        files = [listing.files[name] for name in names]
        _check_space(repo, cache, files)
        tally = Tally(repo, sum(file.size for file in files), progress)
        fetch_blobs(repo, listing.commit, files, _repo_folder(repo, cache), tally)
        folder = snapshot_download(
            repo,
            allow_patterns=[_literal(name) for name in names],
            tqdm_class=progress_class(tally),
            max_workers=_WORKERS,
        )
        tally.finish()
    except Exception as error:
        raise explain(repo, error) from error
    return Snapshot(Path(folder), names)


def _cached(repo: str, select: Selection) -> Snapshot | None:
    """The same from the cache alone, or None when anything is missing there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        # No file is wanted from it, so it is there even when not all of the repository is.
        folder = Path(snapshot_download(repo, allow_patterns=[], local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    try:
        names = select([file.name for file in folder.iterdir()])
    except ModelError:
        return None
    index = folder / INDEX
    if INDEX in names:
        shards = read_json(index).group("weight_map")
        if shards is None or not set(shards.values.values()) <= set(names):
            return None
    weights = names[0].endswith(".safetensors")
    if weights and not {"tekken.json", "tokenizer.json"} & set(names):
        return None  # the download broke off between files
    return Snapshot(folder, names)


def _listing(repo: str) -> _Listing:
    from huggingface_hub import HfApi

    info = HfApi().model_info(repo, files_metadata=True)
    files = {
        file.rfilename: HubFile(
            file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs is not None else None
        )
        for file in info.siblings or []
    }
    return _Listing(info.sha or "main", files)


def _repo_folder(repo: str, cache: Path) -> Path:
    """Where huggingface_hub's cache holds the repository."""
    return cache / f"models--{repo.replace('/', '--')}"


def _check_space(repo: str, cache: Path, files: list[HubFile]) -> None:
    blobs = _repo_folder(repo, cache) / "blobs"
    here = sum(file.stat().st_size for file in blobs.glob("*")) if blobs.is_dir() else 0
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    check_space(existing, sum(file.size for file in files) - here, repo)


def _literal(name: str) -> str:
    """A pattern that matches this name alone."""
    return re.sub(r"([*?[])", r"[\1]", name)
