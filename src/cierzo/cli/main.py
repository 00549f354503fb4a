"""Entry point of the `cierzo` command: the commands, and errors as one line.

Exit codes: 0 done, 1 it could not be done (model, engine, address in use), 2 the command line or
a setting is wrong, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from cierzo.chat.messages import ChatError
from cierzo.cli.bench.commands import app as bench_app
from cierzo.cli.cache import app as cache_app
from cierzo.cli.chat import chat
from cierzo.cli.config import app as config_app
from cierzo.cli.models import models
from cierzo.cli.output import error
from cierzo.cli.pull import pull
from cierzo.cli.serve import serve
from cierzo.engine.errors import EngineError, PromptTooLong
from cierzo.model.errors import ModelError
from cierzo.settings import SettingsError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="cierzo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(show: bool) -> None:
    if show:
        import cierzo

        typer.echo(f"cierzo {cierzo.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Serves a language model on this machine, behind the API of OpenAI and OpenRouter."""


app.command("serve")(serve)
app.command("chat")(chat)
app.command("pull")(pull)
app.command("models")(models)
app.add_typer(bench_app, name="bench")
app.add_typer(cache_app, name="cache")
app.add_typer(config_app, name="config")


def main() -> None:
    """Runs the command line; ends the process with one of the exit codes above."""
    try:
        app()
    except SettingsError as problem:
        error(str(problem))
        sys.exit(EXIT_USAGE)
    except (ModelError, EngineError, PromptTooLong, ChatError) as problem:
        error(str(problem))
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader (head, less) has seen enough. What is buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
