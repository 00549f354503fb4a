"""Percentiles and shares, and "-" for what is unknown."""

from __future__ import annotations

from cierzo.cli.bench.figures import cached_share, percentile, spread, total
from cierzo.cli.bench.table import number, seconds, share, table
from cierzo.cli.bench.target import Answered


def answered(prompt: int | None, cached: int | None) -> Answered:
    return Answered(0.5, 2.0, 2.5, 5, True, prompt, cached)


def test_percentiles_lie_between_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 50) == 2
    assert percentile([1.0, 2.0], 95) == 1.95
    assert percentile([7.0], 99) == 7
    assert percentile([], 50) is None
    assert spread([None, 4.0]) == {"p50": 4, "p95": 4}


def test_shares_are_of_tokens_and_unknown_if_one_is() -> None:
    assert cached_share([answered(100, 0), answered(300, 200)]) == 0.5
    assert cached_share([answered(100, 50), answered(100, None)]) is None
    assert total([1, 2]) == 3
    assert total([1, None]) is None


def test_speed_is_of_the_tokens_after_the_first() -> None:
    assert answered(1, 0).tokens_per_s == 2
    assert answered(1, 0).per_token_s == 0.5
    assert Answered(0.5, 0.0, 0.5, 1, True, 1, 0).tokens_per_s is None


def test_what_is_unknown_is_a_dash() -> None:
    assert seconds(None) == number(None) == share(None) == "-"
    assert (seconds(1.25), seconds(12.25)) == ("1.250", "12.2")
    assert (number(1234.5), number(7), number(7.25)) == ("1,234", "7", "7.2")
    assert table(["a", "bcd"], [["xy", "1"]]) == "a   bcd\nxy    1"
