"""The whole command line as text, without how a version of typer happens to lay it out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from cierzo.cli.main import app


def describe() -> str:
    """Every command with its arguments, options, defaults and help."""
    return "\n".join(_command("cierzo", typer.main.get_command(app))) + "\n"


def options() -> dict[str, set[str]]:
    """The options of each command, by its full name."""
    found: dict[str, set[str]] = {}

    def walk(name: str, command: Any) -> None:
        found[name] = {opt for p in command.params for opt in _spellings(p) if opt.startswith("-")}
        for inner, child in getattr(command, "commands", {}).items():
            walk(f"{name} {inner}", child)

    walk("cierzo", typer.main.get_command(app))
    return found


def _command(name: str, command: Any) -> Iterator[str]:
    yield name
    yield f"    {' '.join((command.help or '').split())}"
    for parameter in command.params:
        shown = ", ".join(_spellings(parameter))
        if not shown.startswith("-"):
            shown = shown.upper() if parameter.required else f"[{shown.upper()}]"
        default = parameter.default
        ending = "" if default is None or default is False else f" (default {default})"
        yield f"  {shown}{ending}"
        yield f"    {parameter.help}"
    for inner, child in getattr(command, "commands", {}).items():
        yield ""
        yield from _command(f"{name} {inner}", child)


def _spellings(parameter: Any) -> list[str]:
    """What may be typed for it; of a switch, also what switches it off."""
    return [*parameter.opts, *parameter.secondary_opts]
