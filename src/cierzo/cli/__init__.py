"""The command line: one file per command."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True)


def main() -> None:
    """Entry point of the `cierzo` command."""
    app()
