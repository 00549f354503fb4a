"""`cierzo bench beside`: what `bench agent` wrote of several servers, in one picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cierzo.cli.bench.agent_figures import beside_table
from cierzo.cli.bench.plot import draw_beside, need_matplotlib
from cierzo.settings import SettingsError


def beside(
    results: Annotated[
        list[str],
        typer.Argument(metavar="NAME=FILE...", help="Servers, and what `--json` wrote of each."),
    ],
    png_file: Annotated[
        Path | None,
        typer.Option("--png", metavar="FILE", help="Draw it there; needs `cierzo[bench]`."),
    ] = None,
) -> None:
    """Show runs of `bench agent` beside each other: the first is what the others are held to."""
    if png_file is not None:
        need_matplotlib()
    read = dict(map(_read, results))
    first, *others = read.values()
    for other in others:
        if _work(other) != _work(first):
            raise SettingsError("these runs did not do the same: other sessions, turns or options")
    typer.echo(beside_table(read))
    if png_file is not None:
        draw_beside(read, png_file)


def _work(result: dict[str, Any]) -> dict[str, Any]:
    """What was done. The seed only makes it new to the server."""
    options = {name: value for name, value in result["options"].items() if name != "seed"}
    return {"sessions": result["sessions"], "turns": len(result["turns"]), **options}


def _read(argument: str) -> tuple[str, dict[str, Any]]:
    name, equals, path = argument.partition("=")
    if not (name and equals and path):
        raise SettingsError(f"{argument}: expected NAME=FILE, such as cierzo=out.json")
    try:
        result = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON") from error
    if not isinstance(result, dict) or result.get("command") != "agent":
        raise SettingsError(f"{path}: not what `cierzo bench agent --json` writes")
    return name, result
