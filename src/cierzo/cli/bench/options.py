"""What the commands that measure a server have in common: their options, and the target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from cierzo.cli.bench.plot import need_matplotlib
from cierzo.cli.bench.target import Target
from cierzo.cli.http_api import HttpApi
from cierzo.settings import SettingsError, load_settings

Url = Annotated[
    str, typer.Option("--url", metavar="URL", help="The server, such as http://localhost:8000.")
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME", help="The server's name for the model; else its first."
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key", metavar="KEY", help="The server's key; else the one in the settings."
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="SECONDS", min=1, help="How long an answer may take as a whole."
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="N",
        min=0,
        help="The same seed sends the same; another one meets nothing that a cache kept.",
    ),
]
IgnoreEos = Annotated[
    bool,
    typer.Option(
        "--ignore-eos",
        help="Ask for answers that go on to their last token (Cierzo, vLLM, llama-server).",
    ),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write every figure and request there."),
]
PngFile = Annotated[
    Path | None,
    typer.Option("--png", metavar="FILE", help="Draw it there; needs `cierzo[bench]`."),
]


def open_target(
    url: str, model: str | None, key: str | None, timeout: float, ignore_eos: bool
) -> Target:
    """The server, known to answer: it has done so once, which also warms it up."""
    if key is None:
        settings, _ = load_settings({})
        key = next(iter(settings.server.api_keys), None)
    api = HttpApi(url, key, timeout)
    target = Target(api, model or api.first_model(), ignore_eos)
    target.ask([{"role": "user", "content": "Hello"}], max_tokens=1)
    return target


def check_files(json_file: Path | None, png_file: Path | None) -> None:
    """Refuses what could not be written once all is measured."""
    for file in (json_file, png_file):
        if file is not None and not file.absolute().parent.is_dir():
            raise SettingsError(f"{file}: no such folder as {file.parent}")
    if png_file is not None:
        need_matplotlib()


def write_json(file: Path, result: dict[str, Any]) -> None:
    """Writes what was measured. Microseconds are enough."""
    file.write_text(json.dumps(_rounded(result), indent=2) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
