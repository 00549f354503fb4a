"""The life of the server: socket, engine, tokenizer and HTTP app start together and end in order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cierzo.settings import Settings


def say_on_stderr(line: str) -> None:
    """How the server speaks to people unless told otherwise."""
    print(line, file=sys.stderr, flush=True)


def run_server(
    settings: Settings,
    path: Path,
    name: str,
    *,
    aliases: Sequence[str] = (),
    tokenizer: Path | None = None,
    say: Callable[[str], None] = say_on_stderr,
) -> int:
    """Serves the checkpoint at `path` as `name` until a signal; returns the exit code.

    `aliases` are other names that requests may use; `tokenizer` is a tekken.json to use in place
    of the checkpoint's own vocabulary (see `open_checkpoint`). `say` takes one line at a time: the address,
    the engine's memory plan, when it is ready, what goes wrong. The codes: 0 after SIGINT or
    SIGTERM, 1 when the address is taken, the model cannot be loaded or the engine is dead for
    good, 130 after a second signal.
    """
    raise NotImplementedError
