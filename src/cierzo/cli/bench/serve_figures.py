"""What a load came to: throughput, and percentiles over requests."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from statistics import median
from typing import Any

from cierzo.cli.bench.arrivals import Outcome
from cierzo.cli.bench.figures import cached_share, spread
from cierzo.cli.bench.table import number, seconds, share, table

_PERCENTS = (50, 95, 99)


def figures(rate: float, outcome: Outcome) -> dict[str, Any]:
    """Figures as they go into JSON. What failed counts in no latency and no throughput."""
    answers = outcome.answers
    prompts = [a.prompt_tokens for a in answers if a.prompt_tokens is not None]
    return {
        "rate": rate,
        "answered": len(answers),
        "failed": len(outcome.failures),
        "failures": dict(Counter(outcome.failures)),
        "wall_s": outcome.wall_s,
        "requests_per_s": len(answers) / outcome.wall_s,
        "output_tokens_per_s": sum(a.output_tokens for a in answers) / outcome.wall_s,
        "tokens_counted_by_server": all(a.counted for a in answers),
        "prompt_tokens": median(prompts) if prompts else None,
        "cached_share": cached_share(answers),
        "ttft_s": spread((a.ttft_s for a in answers), _PERCENTS),
        "per_token_s": spread((a.per_token_s for a in answers), _PERCENTS),
        "answer_s": spread((a.wall_s for a in answers), _PERCENTS),
        "requests": [asdict(a) for a in answers],
    }


def tables(result: dict[str, Any]) -> str:
    """Throughput by rate, then how long requests took: medians and what is worse."""
    rows = result["rates"]
    throughput = table(
        ["rate", "answered", "failed", "requests/s", "output tokens/s", "prompt", "cached"],
        [_throughput(row) for row in rows],
    )
    worse = ["p95", "p99"]
    latency = table(
        ["rate", "first token s", *worse, "ms/later token", *worse, "answer s", *worse],
        [_latency(row) for row in rows],
    )
    return f"{result['model']} at {result['url']}\n\n{throughput}\n\n{latency}"


def _throughput(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['rate']:g}",
        str(row["answered"]),
        str(row["failed"]),
        f"{row['requests_per_s']:.2f}",
        number(row["output_tokens_per_s"]),
        number(row["prompt_tokens"]),
        share(row["cached_share"]),
    ]


def _latency(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['rate']:g}",
        *map(seconds, row["ttft_s"].values()),
        *(number(None if s is None else s * 1e3) for s in row["per_token_s"].values()),
        *map(seconds, row["answer_s"].values()),
    ]
