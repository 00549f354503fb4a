"""Pictures of what was measured, by matplotlib, which only they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cierzo.settings import SettingsError

_SIZE = (10, 4)  # inches


def need_matplotlib() -> None:
    """SettingsError, with what to install, where it is not there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SettingsError("--png needs matplotlib: pip install 'cierzo[bench]'") from error


def draw_agent(result: dict[str, Any], file: Path) -> None:
    """Time to the first token, and prompt with its cached part, by turn."""
    figure, (left, right) = _figure(
        f"{result['model']}: {result['sessions']} agent sessions at once"
    )
    rows = result["turns"]
    turns = [row["turn"] for row in rows]
    _band(left, turns, rows, "ttft_s", ("p50", "p95") if result["sessions"] > 1 else ("p50",))
    left.set(xlabel="turn", ylabel="time to first token, s", ylim=(0, None))
    left.legend()
    prompts = [row["prompt_tokens"] or 0 for row in rows]
    right.bar(turns, prompts, color="lightgray", label="prompt")
    if all(row["cached_share"] is not None for row in rows):
        cached = [tokens * row["cached_share"] for tokens, row in zip(prompts, rows, strict=True)]
        right.bar(turns, cached, color="tab:blue", label="of it cached")
    right.set(xlabel="turn", ylabel="tokens (median)")
    right.legend()
    _save(figure, file)


def draw_beside(results: Mapping[str, dict[str, Any]], file: Path) -> None:
    """Of several servers, by name: time to the first token by turn, and all turns together."""
    figure, (left, right) = _figure("one recorded agent session")
    for name, result in results.items():
        rows = result["turns"]
        times = [row["ttft_s"]["p50"] for row in rows]
        left.plot([row["turn"] for row in rows], times, "o-", label=name)
    left.set(xlabel="turn", ylabel="time to first token, s", ylim=(0, None))
    left.legend()
    walls = [result["total"]["wall_s"]["p50"] for result in results.values()]
    bars = right.barh(list(results), walls, color=[f"C{i}" for i in range(len(walls))])
    right.bar_label(bars, [f" {wall:.1f} s" for wall in walls])
    right.set(xlabel="all turns, s", xlim=(0, 1.15 * max(walls)))
    right.invert_yaxis()
    _save(figure, file)


def draw_serve(result: dict[str, Any], file: Path) -> None:
    """Throughput, and the time to the first token and for each after it, by rate."""
    figure, (left, middle, right) = _figure(f"{result['model']}: requests at random times", 3)
    rows = result["rates"]
    rates = [row["rate"] for row in rows]
    left.plot(rates, [row["output_tokens_per_s"] for row in rows], "o-")
    left.set(xlabel="requests a second", ylabel="output tokens a second", ylim=(0, None))
    for axes, key, label in (
        (middle, "ttft_s", "time to first token, s"),
        (right, "per_token_s", "time for each later token, s"),
    ):
        _band(axes, rates, rows, key, ("p50", "p95", "p99"))
        axes.set(xlabel="requests a second", ylabel=label, ylim=(0, None))
        axes.legend()
    _save(figure, file)


def _band(
    axes: Any,
    across: Sequence[float],
    rows: Sequence[dict[str, Any]],
    key: str,
    names: Sequence[str],
) -> None:
    """A line for each percentile; a gap where it is unknown."""
    for name in names:
        values = [float("nan") if row[key][name] is None else row[key][name] for row in rows]
        axes.plot(across, values, "o-", label=name)


def _figure(title: str, panels: int = 2) -> tuple[Any, Any]:
    # Not pyplot: it keeps figures, and asks for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SIZE[0] * panels / 2, _SIZE[1]), layout="constrained")
    figure.suptitle(title, parse_math=False)
    return figure, figure.subplots(1, panels)


def _save(figure: Any, file: Path) -> None:
    figure.savefig(file, dpi=120, format="png")
