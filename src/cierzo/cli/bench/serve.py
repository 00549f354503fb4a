"""`cierzo bench serve`: how a server does as more and more requests arrive a second."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cierzo.cli.bench import options
from cierzo.cli.bench.arrivals import Load, arrivals, send
from cierzo.cli.bench.progress import Progress
from cierzo.cli.bench.serve_figures import figures, tables
from cierzo.cli.output import note
from cierzo.engine.errors import EngineError
from cierzo.settings import SettingsError

_MOST_REQUESTS = 5_000  # of a sweep; each has a thread while it waits for its answer


def serve(
    *,
    url: options.Url,
    model: options.ModelName = None,
    api_key: options.ApiKey = None,
    rates: Annotated[
        str, typer.Option(metavar="LIST", help="Requests a second, with commas between.")
    ] = "0.5,1,2,4",
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="How long requests arrive at each rate.")
    ] = 30.0,
    prompt_tokens: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Words in a prompt: about a token each.")
    ] = 512,
    output_tokens: Annotated[
        int, typer.Option(min=1, help="Longest answer, in tokens; see --ignore-eos.")
    ] = 64,
    ignore_eos: options.IgnoreEos = False,
    seed: options.Seed = 0,
    timeout: options.Timeout = 300.0,
    json_file: options.JsonFile = None,
    png_file: options.PngFile = None,
) -> None:
    """Measure a server under rising load: requests that arrive at random, whoever still waits.

    Arrivals are a Poisson process; prompts are random words, each its own. A rate is over when all
    of its requests are answered. Greedy, streamed; one request to warm up is not counted.
    """
    options.check_files(json_file, png_file)
    wanted = _rates(rates)
    plans = [arrivals(rate, seconds, seed) for rate in wanted]
    count = sum(map(len, plans))
    if count > _MOST_REQUESTS:
        raise SettingsError(
            f"{count:,} requests in all: more than {_MOST_REQUESTS:,}; lower --rates or --seconds"
        )
    target = options.open_target(url, model, api_key, timeout, ignore_eos)
    found = []
    failures: list[str] = []
    for rate, plan in zip(wanted, plans, strict=True):
        load = Load(plan, prompt_tokens, output_tokens, f"{seed} {rate}")
        outcome = send(target, load, Progress(f"{rate:g} a second", len(plan)))
        found.append(figures(rate, outcome))
        failures += outcome.failures
    if len(failures) == count:
        raise EngineError(failures[0])
    result: dict[str, Any] = {
        "command": "serve",
        "url": url,
        "model": target.model,
        "options": {
            "seconds": seconds,
            "prompt_tokens": prompt_tokens,
            "output_tokens": output_tokens,
            "ignore_eos": ignore_eos,
            "seed": seed,
            "timeout": timeout,
        },
        "rates": found,
    }
    typer.echo(tables(result))
    for failure in sorted(set(failures)):
        note(f"{failures.count(failure)} failed: {failure}")
    if json_file is not None:
        options.write_json(json_file, result)
    if png_file is not None:
        from cierzo.cli.bench.plot import draw_serve

        draw_serve(result, png_file)


def _rates(text: str) -> list[float]:
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        rates = []
    if not rates or not all(0 < rate <= 1000 for rate in rates):
        raise SettingsError(f"--rates {text}: expected requests a second, such as 0.5,1,2")
    return rates
