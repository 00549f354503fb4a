"""What many measurements come to: medians, percentiles, shares. None stands for what is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cierzo.cli.bench.target import Answered

Number = int | float


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Between the two nearest values, by linear interpolation; None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(
    values: Iterable[float | None], percents: Sequence[int] = (50, 95)
) -> dict[str, float | None]:
    """Percentiles of what is known: {"p50": ..., "p95": ...}."""
    known = [value for value in values if value is not None]
    return {f"p{percent}": percentile(known, percent) for percent in percents}


def cached_share(answers: Iterable[Answered]) -> float | None:
    """Of all tokens of these prompts, the share found in a cache; None if one does not say."""
    prompt = cached = 0
    for answer in answers:
        if answer.prompt_tokens is None or answer.cached_tokens is None:
            return None
        prompt += answer.prompt_tokens
        cached += answer.cached_tokens
    return cached / prompt if prompt else None


def total(values: Iterable[int | None]) -> int | None:
    """Their sum; None if one is unknown."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)
