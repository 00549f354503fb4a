"""Searching again: near first, ever further, the same way each time, and never without end."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from cierzo.grammar.search import RESTART, Search, luby


def solve(
    faults: Callable[[str], tuple[int, int] | None], length: int, alphabet: str, budget: int
) -> tuple[str | None, Search]:
    """Writes letters in a fixed random order of preference, and mend what `faults` objects to."""
    search = Search(budget=budget)
    banned: list[set[str]] = [set() for _ in range(length)]
    text = ""
    while True:
        while len(text) < length:
            position = len(text)
            order = list(alphabet)
            random.Random(position).shuffle(order)
            text += next(letter for letter in order if letter not in banned[position])
        fault = faults(text)
        if fault is None:
            return text, search
        choices = [i for i in range(length) if len(banned[i]) + 1 < len(alphabet)]
        at = search.rewind(choices, *fault, len(text))
        if at is None:
            return None, search
        if at == RESTART:
            banned = [set() for _ in range(length)]
            text = ""
            continue
        position = choices[at]
        banned[position].add(text[position])
        for later in banned[position + 1 :]:
            later.clear()
        text = text[:position]


def repeated(text: str) -> tuple[int, int] | None:
    for position, letter in enumerate(text):
        if letter in text[:position]:
            return position, position + 1
    return None


def test_the_mixture_is_luby_s() -> None:
    assert [luby(n) for n in range(1, 16)] == [1, 1, 2, 1, 1, 2, 4, 1, 1, 2, 1, 1, 2, 4, 8]


def test_the_last_choice_before_the_end_of_the_span_comes_first() -> None:
    assert Search().rewind([0, 4, 9, 12], 8, 11, 20) == 2


def test_what_comes_after_the_span_is_never_blamed() -> None:
    assert Search().rewind([5, 6], 0, 5, 10) is None


def test_the_whole_span_is_tried_soon_and_then_what_came_before_it() -> None:
    search = Search()
    choices = list(range(100))
    went = [search.rewind(choices, 60, 70, 100) for _ in range(15)]
    assert went[:3] == [69, 69, 60]
    assert min(at for at in went if at is not None) < 60


def test_going_on_further_begins_near_again() -> None:
    search = Search()
    for _ in range(7):
        search.rewind(list(range(50)), 10, 20, 50)
    assert search.rewind(list(range(50)), 30, 40, 50) == 39


def test_different_letters_are_found_one_by_one() -> None:
    text, search = solve(repeated, 6, "abcdefgh", budget=64)
    assert text is not None
    assert len(set(text)) == 6
    assert search.rewinds < 40


def test_a_fault_whose_cause_lies_far_back_is_found() -> None:
    def faults(text: str) -> tuple[int, int] | None:
        return None if text[3] == "b" else (38, 40)

    found, search = solve(faults, 40, "abc", budget=256)
    assert found is not None
    assert found[3] == "b"
    assert search.rewinds <= 256


def test_the_search_is_the_same_each_time() -> None:
    first, second = (solve(repeated, 7, "abcdefgh", budget=500) for _ in range(2))
    assert first[0] == second[0]
    assert first[1].rewinds == second[1].rewinds


def test_it_ends_with_the_budget() -> None:
    text, search = solve(lambda _: (0, 8), 8, "abcdef", budget=20)
    assert text is None
    assert search.rewinds == 20


def test_it_ends_when_too_much_was_thrown_away() -> None:
    search = Search(budget=1000, max_bytes=500)
    calls = 0
    while search.rewind([0], 0, 100, 100) is not None:
        calls += 1
    assert calls == 5


def test_it_ends_when_nothing_is_left_to_choose() -> None:
    text, search = solve(repeated, 3, "ab", budget=1000)
    assert text is None
    assert search.rewinds < 20


@pytest.mark.parametrize("wanted", ["aaaa", "abca", "ccba", "bbbb", "cccc"])
def test_the_only_value_of_a_few_is_found_wherever_it_is(wanted: str) -> None:
    text, _ = solve(lambda text: None if text == wanted else (0, 4), 4, "abc", budget=400)
    assert text == wanted
