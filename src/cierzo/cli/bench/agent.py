"""`cierzo bench agent`: recorded agent sessions against any server with OpenAI's chat API."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from cierzo.cli.bench import options
from cierzo.cli.bench.agent_figures import figures, tables
from cierzo.cli.bench.progress import Progress
from cierzo.cli.bench.recordings.reading import Trace, read_trace
from cierzo.cli.bench.replay import Pace, replay
from cierzo.cli.output import note
from cierzo.settings import SettingsError

_WARM = 0.5  # of a first prompt: so much is no template's beginning


def agent(
    *,
    url: options.Url,
    trace: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE", help="Recorded session; of several, each session takes the next."
        ),
    ],
    model: options.ModelName = None,
    api_key: options.ApiKey = None,
    sessions: Annotated[int, typer.Option(min=1, max=512, help="Sessions at once.")] = 1,
    characters: Annotated[
        int, typer.Option(min=1, help="Replay turns whose history is no longer than this.")
    ] = 18_000,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 64,
    think: Annotated[
        str,
        typer.Option(
            metavar="SECONDS|trace", help="Pause before each later turn; trace: as recorded."
        ),
    ] = "0",
    think_limit: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, help="Longest pause that a trace may ask for."),
    ] = 60.0,
    scale: Annotated[
        str,
        typer.Option(
            metavar="FRACTION",
            help="Size of prompts made from block ids, as a share of the recorded; such as 1/16.",
        ),
    ] = "1",
    plain: Annotated[
        bool,
        typer.Option(
            "--plain/--as-recorded",
            help="Tool calls and results as text, or as the recording's messages have them.",
        ),
    ] = True,
    ignore_eos: options.IgnoreEos = False,
    seed: options.Seed = 0,
    timeout: options.Timeout = 600.0,
    json_file: options.JsonFile = None,
    png_file: options.PngFile = None,
) -> None:
    """Replay recorded agent sessions against a server: each turn sends the whole history.

    The recorded answer stands in the next history, so every server gets the same prompts. Sessions
    differ from their first line on. Greedy, streamed; one request to warm up is not counted.
    """
    options.check_files(json_file, png_file)
    fraction = _fraction(scale)
    traces = [
        read_trace(path, characters=characters, scale=fraction, plain=plain) for path in trace
    ]
    pace = _pace(think, think_limit, traces)
    target = options.open_target(url, model, api_key, timeout, ignore_eos)
    played = [traces[index % len(traces)] for index in range(sessions)]
    progress = Progress("turns", sum(len(one.turns) for one in played))
    run = replay(target, played, max_tokens=max_tokens, pace=pace, seed=seed, progress=progress)
    result: dict[str, Any] = {
        "command": "agent",
        "url": url,
        "model": target.model,
        "sessions": sessions,
        "options": {
            "traces": [path.name for path in trace],
            "characters": characters,
            "max_tokens": max_tokens,
            "think": think,
            "think_limit": think_limit,
            "scale": scale,
            "plain": plain,
            "ignore_eos": ignore_eos,
            "seed": seed,
        },
        **figures(run),
    }
    typer.echo(tables(result))
    _remark(result)
    if json_file is not None:
        options.write_json(json_file, result)
    if png_file is not None:
        from cierzo.cli.bench.plot import draw_agent

        draw_agent(result, png_file)


def _fraction(text: str) -> Fraction:
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not 0 < value <= 1:
        raise SettingsError(f"--scale {text}: expected a share such as 1/16 or 0.25, at most 1")
    return value


def _pace(think: str, limit: float, traces: list[Trace]) -> Pace:
    if think == "trace":
        for trace in traces:
            if not trace.has_think_times:
                raise SettingsError(f"--think trace: {trace.name} has no times; give seconds")
        return Pace(None, limit)
    try:
        seconds = float(think)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise SettingsError(f"--think {think}: expected seconds up to 3600, or trace")
    return Pace(seconds, limit)


def _remark(result: dict[str, Any]) -> None:
    """What a reader of the table must know."""
    if (result["turns"][0]["cached_share"] or 0) > _WARM:
        note("The first turn was cached already: by an earlier run? Another --seed sends others.")
    if not result["tokens_counted_by_server"]:
        note("The server tells no usage: output tokens are events of its stream.")
