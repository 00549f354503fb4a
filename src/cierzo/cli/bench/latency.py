"""`cierzo bench latency`: how fast a model runs on this machine."""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from cierzo.cli.options import model_argument, takes_settings
from cierzo.cli.output import download_progress
from cierzo.settings import Settings

if TYPE_CHECKING:
    from cierzo.engine.engine import Engine


@dataclass(frozen=True)
class Latency:
    """One request, alone on the engine. Speeds in tokens a second."""

    ttft_ms: float  # from the request to its first token
    prefill_tps: float  # tokens of the prompt that were computed, over that time
    decode_tps: float  # tokens after the first over the time from the first to the last


@takes_settings("engine.*")
def latency(
    settings: Settings,
    *,
    model: Annotated[str, model_argument()],
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens in the prompt.")] = 512,
    context: Annotated[int, typer.Option(min=0, help="Tokens before it, in the cache.")] = 0,
    output_tokens: Annotated[int, typer.Option(min=1, help="Tokens to generate.")] = 128,
    repeat: Annotated[int, typer.Option(min=1, help="Measured runs; medians are shown.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure one request alone: random prompt, greedy, no end before the last token.

    The engine runs in this process, so peak_rss_mb (10^6 bytes) is that of the process that
    holds the model. One run to warm up is not counted. load_s is from the file to ready. With
    --context, so many tokens are computed first, and every run goes on from there. Nothing else is
    taken from the prefix cache, and nothing is left in it.
    """
    from cierzo.llm import open_engine
    from cierzo.model.fetch.registry import resolve

    with download_progress() as progress:
        resolved = resolve(settings.model, progress)
    # A cache for the one request, not for the whole context, which may not even fit.
    length = settings.engine.max_model_len or context + prompt_tokens + output_tokens
    began = time.perf_counter()
    alone = replace(
        settings.engine,
        max_model_len=length,
        prefix_cache="on" if context else "off",
        kv_cache_disk_gb=0,  # an earlier run had the same prompts
        drafts="off",  # random prompts have answers that repeat themselves
    )
    engine, info = open_engine(resolved.path, alone, resolved.tokenizer)
    load_seconds = time.perf_counter() - began
    before = random_tokens(engine, context, seed=0)
    if context:
        measure(engine, before, output_tokens=1)
    runs = [
        measure(engine, before + random_tokens(engine, prompt_tokens, seed), output_tokens)
        for seed in range(1, repeat + 2)
    ][1:]
    result: dict[str, object] = {
        "model": resolved.name,
        "backend": info.backend,
        "context_tokens": context,
        "prompt_tokens": prompt_tokens,
        "output_tokens": output_tokens,
        "prefill_tps": round(statistics.median(run.prefill_tps for run in runs), 2),
        "decode_tps": round(statistics.median(run.decode_tps for run in runs), 2),
        "ttft_ms": round(statistics.median(run.ttft_ms for run in runs), 2),
        "peak_rss_mb": round(peak_rss_bytes() / 1e6, 1),
        "load_s": round(load_seconds, 3),
    }
    if as_json:
        typer.echo(json.dumps(result | {"runs": [asdict(run) for run in runs]}, indent=2))
        return
    for name, value in result.items():
        typer.echo(f"{name:14} {value}")


def random_tokens(engine: Engine, count: int, seed: int) -> list[int]:
    """So many tokens, which follow from `seed`."""
    import numpy as np

    chance = np.random.default_rng(seed)
    tokens: list[int] = chance.integers(0, engine.vocab_size, count).tolist()
    return tokens


def measure(engine: Engine, prompt: list[int], output_tokens: int) -> Latency:
    """Runs one request."""
    from cierzo.engine.sampling_params import SamplingParams

    params = SamplingParams(max_tokens=output_tokens, temperature=0.0, ignore_eos=True)
    times: list[float] = []
    cached = 0
    began = time.perf_counter()
    engine.add("bench", prompt, params)
    while engine.has_work():
        for output in engine.step():
            times.extend([time.perf_counter()] * len(output.token_ids))
            cached = output.num_cached_tokens
    first = times[0] - began
    rest = times[-1] - times[0]
    return Latency(
        ttft_ms=first * 1e3,
        prefill_tps=(len(prompt) - cached) / first,
        decode_tps=(len(times) - 1) / rest if rest else 0.0,
    )


def peak_rss_bytes() -> int:
    """The most memory this process has held, pages of mapped files included.

    Linux: VmHWM, which begins anew with the program; ru_maxrss counts the parent's too.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # no /proc here
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
