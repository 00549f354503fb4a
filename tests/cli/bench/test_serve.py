"""`cierzo bench serve`: what a sweep sends, and what it tells of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from cierzo.cli.bench.arrivals import arrivals
from tests.api.live import start
from tests.cli.bench.stand_in import stand_in
from tests.cli.run import cierzo

SHORT = ("--rates", "2,4", "--seconds", "1", "--prompt-tokens", "20", "--output-tokens", "3")


def test_arrivals_follow_from_rate_and_seed() -> None:
    times = arrivals(10, 1000, seed=3)
    assert times == sorted(times) == arrivals(10, 1000, seed=3) != arrivals(10, 1000, seed=4)
    assert times[0] == 0
    assert times[-1] < 1000
    assert len(times) == pytest.approx(10_000, rel=0.05)
    # Gaps of a Poisson process: half of them are shorter than ln 2 of their mean.
    gaps = sorted(b - a for a, b in itertools.pairwise(times))
    assert gaps[len(gaps) // 2] == pytest.approx(0.0693, rel=0.1)


def test_a_cierzo_server_tells_all_there_is_to_know(model: Path, tmp_path: Path) -> None:
    with start(model, server__api_keys=("sekret",), engine__max_model_len=8192) as live:
        options = ("--url", live.url, *SHORT, "--ignore-eos", "--json", "out.json")
        done = cierzo("bench", "serve", *options, cwd=tmp_path, CIERZO_API_KEY="sekret")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert [row["rate"] for row in result["rates"]] == [2, 4]
    for row in result["rates"]:
        assert row["answered"] == len(row["requests"]) > 0
        assert row["failed"] == 0
        assert row["requests_per_s"] == pytest.approx(row["answered"] / row["wall_s"], rel=1e-3)
        assert {one["output_tokens"] for one in row["requests"]} == {3}
        for key in ("ttft_s", "per_token_s", "answer_s"):
            assert 0 <= row[key]["p50"] <= row[key]["p95"] <= row[key]["p99"]
        assert 0 <= row["cached_share"] < 1
    assert "output tokens/s" in done.stdout


def test_prompts_are_words_that_all_differ(tmp_path: Path) -> None:
    with stand_in() as server:
        done = cierzo("bench", "serve", "--url", server.url, *SHORT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    prompts = [body["messages"][0]["content"] for body in server.asked]
    assert {len(prompt.split()) for prompt in prompts} == {20}
    assert len(set(prompts)) == len(prompts)
    assert {body["max_tokens"] for body in server.asked} == {3}


def test_failures_are_counted_and_quoted(tmp_path: Path) -> None:
    """Whoever refuses after the request that warms up: an overloaded server."""
    with stand_in(most=2, error={"message": "too busy"}) as server:
        options = ("--url", server.url, *SHORT, "--json", "out.json")
        done = cierzo("bench", "serve", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["rates"]
    assert sum(row["answered"] for row in rows) == 1
    failed = sum(row["failed"] for row in rows)
    assert failed == len(server.bodies) - 2
    assert done.stderr.splitlines()[-1] == f"{failed} failed: {server.url}: too busy"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--url", "localhost:1"), 1, "nothing listens there"),
        (("--url", "ftp://x"), 1, "expected a URL such as"),
        (("--url", "localhost:1", "--rates", "fast"), 2, "--rates fast: expected requests"),
        (("--url", "localhost:1", "--rates", "900"), 2, "more than 5,000"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    done = cierzo("bench", "serve", *options, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with stand_in() as server:
        options = ("--url", server.url, *SHORT, "--png", "out.png")
        done = cierzo("bench", "serve", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
