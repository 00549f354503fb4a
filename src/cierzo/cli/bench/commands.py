"""The commands of `cierzo bench`."""

from __future__ import annotations

import typer

from cierzo.cli.bench.agent import agent
from cierzo.cli.bench.beside import beside
from cierzo.cli.bench.latency import latency
from cierzo.cli.bench.serve import serve

app = typer.Typer(no_args_is_help=True, help="Measure speed: of this machine, or of any server.")


@app.callback()
def _group() -> None:
    """Measure speed: of this machine, or of any server."""


app.command("latency")(latency)
app.command("agent")(agent)
app.command("beside")(beside)
app.command("serve")(serve)
