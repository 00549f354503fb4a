"""What replayed sessions come to, by turn and in total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from statistics import median
from typing import Any

from cierzo.cli.bench.figures import cached_share, spread, total
from cierzo.cli.bench.replay import Played, Run
from cierzo.cli.bench.table import number, seconds, share, table
from cierzo.cli.bench.target import Answered


def figures(run: Run) -> dict[str, Any]:
    """Figures as they go into JSON: percentiles are over sessions."""
    by_session = [
        [one.answered for one in group] for _, group in groupby(run.played, lambda p: p.session)
    ]
    output_tokens = sum(one.answered.output_tokens for one in run.played)
    longest = max(one.turn for one in run.played)
    return {
        "tokens_counted_by_server": all(one.answered.counted for one in run.played),
        "wall_s": run.wall_s,
        "output_tokens_per_s": output_tokens / run.wall_s,
        "turns": [
            {"turn": turn} | _of([[p.answered] for p in run.played if p.turn == turn])
            for turn in range(1, longest + 1)
        ],
        "total": _of(by_session),
        "requests": [_request(one) for one in run.played],
    }


def _of(sessions: Sequence[Sequence[Answered]]) -> dict[str, Any]:
    """Figures of some requests of each session: of a session their sum, then over sessions."""
    prompts = [total(answer.prompt_tokens for answer in answers) for answers in sessions]
    known = [tokens for tokens in prompts if tokens is not None]
    return {
        "sessions": len(sessions),
        "prompt_tokens": median(known) if known else None,
        "cached_share": cached_share(answer for answers in sessions for answer in answers),
        "output_tokens": median(sum(a.output_tokens for a in answers) for answers in sessions),
        "ttft_s": spread(sum(a.ttft_s for a in answers) for answers in sessions),
        "tokens_per_s": spread(map(_speed, sessions), (50, 5)),
        "wall_s": spread(sum(a.wall_s for a in answers) for answers in sessions),
    }


def _speed(answers: Sequence[Answered]) -> float | None:
    """Tokens after the first of each answer, a second of the time from there to the last."""
    measured = [a for a in answers if a.tokens_per_s is not None]
    time = sum(a.decode_s for a in measured)
    return sum(a.output_tokens - 1 for a in measured) / time if measured else None


def _request(one: Played) -> dict[str, Any]:
    placed = {"session": one.session, "turn": one.turn, "trace": one.trace, "began_s": one.began_s}
    return placed | asdict(one.answered) | {"tokens_per_s": one.answered.tokens_per_s}


def tables(result: dict[str, Any]) -> str:
    """By turn and in total, with the slowest of many sessions where there are many."""
    many = result["sessions"] > 1
    titles = ["turn", "prompt", "cached", "output", "first token s", "tokens/s", "wall s"]
    if many:
        titles = [*titles[:5], "p95", "tokens/s", "p5", "wall s", "p95"]
        titles.insert(1, "sessions")
    rows = [_row(str(row["turn"]), row, many) for row in result["turns"]]
    rows.append(_row("total", result["total"], many))
    before = f"{result['model']} at {result['url']}"
    after = f"{result['wall_s']:.1f} s in all, {result['output_tokens_per_s']:.1f} output tokens/s"
    return f"{before}\n\n{table(titles, rows)}\n\n{after}"


def _row(name: str, row: dict[str, Any], many: bool) -> list[str]:
    cells = [name]
    if many:
        cells.append(str(row["sessions"]))
    cells += [number(row["prompt_tokens"]), share(row["cached_share"])]
    cells.append(number(row["output_tokens"]))
    for key, show, worst in (
        ("ttft_s", seconds, "p95"),
        ("tokens_per_s", number, "p5"),
        ("wall_s", seconds, "p95"),
    ):
        cells.append(show(row[key]["p50"]))
        if many:
            cells.append(show(row[key][worst]))
    return cells


def beside_table(results: Mapping[str, dict[str, Any]]) -> str:
    """A line for each server, by name; ratios are of the wall time to the first one's."""
    first = next(iter(results.values()))["total"]["wall_s"]["p50"]
    rows = []
    for name, result in results.items():
        total, wall = result["total"], result["total"]["wall_s"]["p50"]
        rows.append(
            [
                name,
                share(total["cached_share"]),
                seconds(total["ttft_s"]["p50"]),
                number(total["tokens_per_s"]["p50"]),
                seconds(wall),
                f"{wall / first:.2f}x",
            ]
        )
    return table(["server", "cached", "first tokens s", "tokens/s", "wall s", "ratio"], rows)
