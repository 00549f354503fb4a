"""`cierzo pull`: fetches a model, so that serving it later needs no network."""

from __future__ import annotations

from typing import Annotated

import typer

from cierzo.cli.options import model_argument
from cierzo.cli.output import download_progress


def pull(
    model: Annotated[str, model_argument()],
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the hub for a newer version of what is here.")
    ] = False,
) -> None:
    """Fetch a model into the cache and print where it is."""
    from cierzo.model.fetch.registry import resolve

    with download_progress() as progress:
        resolved = resolve(model, progress, refresh=refresh)
    typer.echo(resolved.path)
