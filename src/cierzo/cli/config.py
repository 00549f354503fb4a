"""`cierzo config`: what the settings are, what they may be, and where each value comes from."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cierzo.cli.options import default_text
from cierzo.settings import OTHER_VARIABLES, Settings, Value, declared, load_settings, value_of

app = typer.Typer(no_args_is_help=True, help="Show the settings.")


@app.callback()
def _group() -> None:
    """Show the settings."""


@app.command("show")
def show(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print each setting: its value, where that comes from, and what is allowed."""
    settings, origins = load_settings({})
    if as_json:
        typer.echo(json.dumps(_table(settings, origins), indent=2))
        return
    rows = [("setting", "value", "from", "allowed")]
    for setting in declared():
        value = default_text(_shown(settings, setting.key, setting.secret))
        rows.append((setting.key, value, origins[setting.key], setting.allowed))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        typer.echo("  ".join([*cells, row[3]]))
    typer.echo("\nEnvironment only:")
    for name, text in OTHER_VARIABLES.items():
        typer.echo(f"  {name}: {text}")


def _table(settings: Settings, origins: dict[str, str]) -> dict[str, dict[str, object]]:
    return {
        s.key: {
            "value": _shown(settings, s.key, s.secret),
            "default": s.default,
            "from": origins[s.key],
            "low": s.low,
            "high": s.high,
            "choices": s.choices,
            "variable": s.variable,
            "help": s.text,
        }
        for s in declared()
    }


def _shown(settings: Settings, key: str, secret: bool) -> Value:
    """A value as it may be printed: keys are counted, never shown."""
    value = value_of(settings, key)
    if secret and isinstance(value, tuple):
        return (f"{len(value)} set, not shown",) if value else ()
    return value
