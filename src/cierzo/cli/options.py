"""Command-line options made from the declarations in `cierzo.settings`, so that they stand once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from cierzo.settings import Setting, Value, declared, load_settings

# The decorated command takes its settings as this parameter.
_PARAMETER = "settings"


def model_argument() -> Any:
    """The MODEL argument of a command."""
    return typer.Argument(
        metavar="MODEL", help="Short name, hub repository or path.", show_default=False
    )


def default_text(value: Value) -> str:
    """A default as it is typed."""
    if isinstance(value, tuple):
        return ",".join(value) or "none"
    return "none" if value is None else str(value)


def takes_settings(*keys: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command an option for each key, and the layered `Settings` as its `settings`.

    A key is one setting (`server.port`) or all of a section (`engine.*`). The values are checked
    by `load_settings`, whichever source they come from. So is the command's own MODEL argument,
    if it has one: `settings.model` is what to load, `model` what was typed.
    """
    chosen = [s for s in declared() if s.key in keys or f"{s.section}.*" in keys]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            flags = {s.key: _joined(given.pop(s.name)) for s in chosen}
            flags["model"] = given.get("model")
            settings, _ = load_settings(flags)
            command(settings, **given)

        own = inspect.signature(command, eval_str=True).parameters.values()
        parameters = [p for p in own if p.name != _PARAMETER] + [_option(s) for s in chosen]
        run.__doc__ = command.__doc__
        run.__name__ = command.__name__
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def _option(setting: Setting) -> inspect.Parameter:
    """The option of a setting. Its text is checked with all other sources, not by typer."""
    text = setting.text[0].upper() + setting.text[1:]
    option = typer.Option(
        setting.flag,
        metavar=_metavar(setting),
        help=f"{text}. [default: {default_text(setting.default)}]",
        show_default=False,
    )
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        # A list may be given at once, with commas, or one by one.
        annotation=Annotated[
            list[str] | None if isinstance(setting.default, tuple) else str | None, option
        ],
    )


def _joined(given: str | list[str] | None) -> str | None:
    """What was given for an option; nothing for one that was not."""
    if isinstance(given, list):
        return ",".join(given) if given else None
    return given


def _metavar(setting: Setting) -> str:
    if setting.choices:
        return "[" + "|".join(setting.choices) + "]"
    unit = setting.name.rpartition("_")[2]
    if unit in ("seconds", "gb", "mb"):
        return unit.upper()
    return {int: "N", tuple: "LIST"}.get(type(setting.default), "TEXT")
