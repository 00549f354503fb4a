"""What follows the last tokens of a text earlier in it is proposed, and found again after edits."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cierzo import _native

NONE = np.array([], dtype=np.int32)
FILE = list(range(1_000, 1_150))  # 150 tokens, no two alike


def index_of(tokens: list[int], predicted: list[int] | None = None) -> _native.DraftIndex:
    index = _native.DraftIndex(np.array(predicted or [], dtype=np.int32))
    extend(index, tokens)
    return index


def extend(index: _native.DraftIndex, tokens: list[int]) -> None:
    index.extend(np.array(tokens, dtype=np.int32))


def test_a_text_that_comes_again_is_proposed_from_its_third_token_on() -> None:
    index = index_of([*FILE, 1, 2])
    for place in range(3):
        assert index.propose(5) == []
        extend(index, [FILE[place]])
    for place in range(3, 100):
        assert index.propose(5) == FILE[place : place + 5]
        assert index.agreement == min(place, 32)
        extend(index, [FILE[place]])


@pytest.mark.parametrize(
    ("edited", "next_place"),
    [
        ([*FILE[:50], 7, *FILE[51:53]], 53),  # another token in one's place
        ([*FILE[:50], 7, 8, 9, *FILE[50:52]], 52),  # more tokens
        ([*FILE[:50], *FILE[60:62]], 62),  # fewer
        ([*FILE[:50], *FILE[45:50], *FILE[50:52]], 52),  # some twice
    ],
)
def test_an_edited_copy_is_in_step_two_tokens_after_the_edit(
    edited: list[int], next_place: int
) -> None:
    index = index_of([*FILE, 1, 2, *edited])
    assert index.propose(4) == FILE[next_place : next_place + 4]


def test_the_last_of_several_places_is_followed() -> None:
    index = index_of([5, 6, 7, 1, *FILE[:40], 5, 6, 7, 2, 9, *FILE[50:90], 5, 6, 7])
    assert index.propose(2) == [2, 9]


def test_a_longer_run_comes_before_a_later_one() -> None:
    long = list(range(20, 30))
    index = index_of([*long, 1, 9, *long[-3:], 2, 9, 8, *long])
    assert index.propose(1) == [1]


def test_what_repeats_itself_is_proposed_for_as_long_as_is_asked() -> None:
    assert index_of([9, 1, 2, 3, 1, 2, 3, 1, 2, 3]).propose(8) == [1, 2, 3, 1, 2, 3, 1, 2]


def test_a_prediction_is_proposed_from_its_beginning() -> None:
    index = index_of([1, 2, 3], predicted=FILE)
    assert index.propose(3) == []
    index.begin_prediction()
    assert index.from_prediction
    assert index.propose(3) == FILE[:3]
    extend(index, FILE[:148])
    assert index.propose(9) == FILE[148:]  # no further than it goes
    extend(index, FILE[148:])
    assert index.propose(9) == []
    assert not index.from_prediction


def test_nothing_of_a_prediction_counts_as_text() -> None:
    assert index_of([1, 2], predicted=FILE).length == 2
    assert index_of([*FILE[-2:], 1], predicted=FILE).propose(3) == []


def test_what_is_taken_back_was_never_there() -> None:
    index = index_of([*FILE[:20], 1, 2, *FILE[:5]])
    index.truncate(22)
    assert index.length == 22
    assert index.propose(3) == []
    extend(index, FILE[8:12])
    assert index.propose(3) == FILE[12:15]


@pytest.mark.parametrize("seed", range(5))
def test_proposals_follow_something_that_the_text_ends_with(seed: int) -> None:
    """Whatever was added and taken back, and however the tables have grown meanwhile."""
    rng = random.Random(seed)
    text: list[int] = []
    index = index_of([])
    proposed = 0
    for _ in range(400):
        if rng.random() < 0.1:
            text = text[: rng.randrange(len(text) + 1)]
            index.truncate(len(text))
        else:
            start = rng.randrange(len(text) + 1)
            new = text[start : start + 12] if rng.random() < 0.5 else []
            new += [rng.randrange(50) for _ in range(rng.randrange(12))]
            text += new
            extend(index, new)
        tokens = index.propose(4)
        if tokens:
            proposed += 1
            agreement = index.agreement
            suffix = text[len(text) - agreement :]
            follows = [
                (text + tokens)[i : i + len(tokens)]
                for i in range(agreement, len(text))
                if text[i - agreement : i] == suffix
            ]
            assert agreement >= 1
            assert tokens in follows
    assert index.length == len(text)
    assert proposed > 10
