"""`cierzo serve`: the HTTP server and its engine."""

from __future__ import annotations

from typing import Annotated

import typer

from cierzo.cli.options import model_argument, takes_settings
from cierzo.cli.output import download_progress
from cierzo.settings import Settings


@takes_settings("engine.*", "server.*")
def serve(
    settings: Settings,
    model: Annotated[str | None, model_argument()] = None,
    insecure: Annotated[
        bool,
        typer.Option("--insecure", help="Let everyone on the network of --host in without a key."),
    ] = False,
) -> None:
    """Serve a model over HTTP until Ctrl-C or SIGTERM.

    Without MODEL: the one that CIERZO_MODEL or cierzo.toml names, or the small default.
    """
    from cierzo.api.access.exposure import check_exposure
    from cierzo.model.fetch.registry import resolve

    check_exposure(settings.server, insecure)
    with download_progress() as progress:
        resolved = resolve(settings.model, progress)

    from cierzo.api.lifecycle import run_server

    code = run_server(settings, resolved.path, resolved.entry, tokenizer=resolved.tokenizer)
    raise typer.Exit(code)
