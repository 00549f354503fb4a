"""`cierzo bench latency`: the numbers it prints are there and hold together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.run import cierzo

SIZES = ("--prompt-tokens", "40", "--output-tokens", "9", "--threads", "1")


def test_json_has_every_number(model: Path, tmp_path: Path) -> None:
    done = cierzo("bench", "latency", str(model), *SIZES, "--repeat", "2", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["prompt_tokens"], result["output_tokens"]) == (40, 9)
    assert len(result["runs"]) == 2
    for run in result["runs"]:
        assert run["prefill_tps"] == pytest.approx(40 / run["ttft_ms"] * 1e3)
        assert run["decode_tps"] > 0
    assert result["load_s"] > 0
    assert model.stat().st_size / 1e6 < result["peak_rss_mb"] < 2_000


def test_one_token_has_no_decode_speed(model: Path, tmp_path: Path) -> None:
    sizes = ("--prompt-tokens", "1", "--output-tokens", "1", "--repeat", "1")
    done = cierzo("bench", "latency", str(model), *sizes, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["decode_tps"] == 0


def test_people_get_lines(model: Path, tmp_path: Path) -> None:
    done = cierzo("bench", "latency", str(model), *SIZES, "--repeat", "1", cwd=tmp_path)
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names[-5:] == ["prefill_tps", "decode_tps", "ttft_ms", "peak_rss_mb", "load_s"]


def test_a_prompt_beyond_the_context_is_one_line(model: Path, tmp_path: Path) -> None:
    options = ("--prompt-tokens", "100", "--max-model-len", "64")
    done = cierzo("bench", "latency", str(model), *options, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "context is 64 tokens" in done.stderr


def test_the_cache_is_for_the_one_request(model: Path, tmp_path: Path) -> None:
    """The whole context of 65,536 tokens takes 64 MB; what is measured needs 50 tokens."""
    options = ("--kv-cache-memory-mb", "8", "--repeat", "1")
    done = cierzo("bench", "latency", str(model), *SIZES, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_nothing_is_left_for_the_next_run_to_find(model: Path, tmp_path: Path) -> None:
    """Its prompts are the same: they would be read from disk, and prefill looked 40 times as
    fast."""
    sizes = ("--prompt-tokens", "300", "--output-tokens", "3", "--repeat", "1")
    options = ("--kv-cache-dir", str(tmp_path / "kv"), "--kv-cache-disk-gb", "1")
    done = cierzo("bench", "latency", str(model), *sizes, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not [path for path in tmp_path.glob("kv/**/*") if path.is_file()]


@pytest.mark.parametrize("context", ["64", "70"])
def test_a_context_is_computed_once_and_not_counted(
    model: Path, tmp_path: Path, context: str
) -> None:
    options = ("--context", context, "--repeat", "2", "--json")
    done = cierzo("bench", "latency", str(model), *SIZES, *options, cwd=tmp_path)
    result = json.loads(done.stdout)
    assert result["context_tokens"] == int(context)
    for run in result["runs"]:
        assert run["prefill_tps"] == pytest.approx(40 / run["ttft_ms"] * 1e3)
