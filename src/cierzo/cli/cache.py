"""`cierzo cache`: what the KV cache keeps on disk, whether it is whole, and away with it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cierzo.cli.options import takes_settings
from cierzo.cli.output import error
from cierzo.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Show, verify or clear the KV cache on disk.")


@app.callback()
def _group() -> None:
    """Show, verify or clear the KV cache on disk."""


@app.command("show")
@takes_settings("engine.kv_cache_dir")
def show(
    settings: Settings,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what is kept: for each model, and each way of computing it."""
    from cierzo.engine.cache.disk.inspection import worlds

    found = list(worlds(_base(settings)))
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(world) for world in found], indent=2))
        return
    rows = [("cache", "model", "on disk", "tokens", "last used", "")]
    for world in found:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(world.used)) if world.used else "-"
        size = f"{world.bytes / 1e9:.2f} GB"
        state = "in use" if world.in_use else ""
        rows.append((world.world[:12], world.model, size, f"{world.tokens:,}", used, state))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        typer.echo("  ".join([*cells, row[5]]).rstrip())


@app.command("verify")
@takes_settings("engine.kv_cache_dir")
def verify(settings: Settings) -> None:
    """Read all that is kept. Blocks that are damaged are never used; exit code 1 tells of them."""
    from cierzo.engine.cache.disk.inspection import damaged

    failed = False
    for path in _worlds(settings):
        count = damaged(path)
        typer.echo(f"{path.name[:12]}  {f'{count} damaged' if count else 'whole'}")
        failed = failed or count > 0
    if failed:
        raise typer.Exit(1)


@app.command("clear")
@takes_settings("engine.kv_cache_dir")
def clear(settings: Settings) -> None:
    """Delete all that is kept, but for what a running server uses: exit code 1 tells of that."""
    from cierzo.engine.cache.disk.folders import DiskTierError
    from cierzo.engine.cache.disk.inspection import clear as clear_world

    failed = False
    for path in _worlds(settings):
        try:
            clear_world(path)
        except DiskTierError as problem:
            error(f"{problem}; stop the server, or ask it with DELETE /v1/cache")
            failed = True
    if failed:
        raise typer.Exit(1)


def _base(settings: Settings) -> Path:
    from cierzo.engine.cache.disk.folders import default_folder

    return default_folder(settings.engine.kv_cache_dir)


def _worlds(settings: Settings) -> Iterator[Path]:
    from cierzo.engine.cache.disk.folders import world_paths

    yield from world_paths(_base(settings))
