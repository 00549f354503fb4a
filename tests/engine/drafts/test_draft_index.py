"""What follows the last tokens of a text earlier in it is proposed, and found again after edits."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cierzo import _native

Origin = _native.DraftIndex.Origin
FILE = list(range(1_000, 1_150))  # 150 tokens, no two alike


class Index:
    """What a text may go on with, the text, and where else it may be copied from."""

    def __init__(
        self,
        tokens: list[int],
        predicted: list[int] | None = None,
        recent: list[list[int]] | None = None,
    ) -> None:
        self.text: list[int] = []
        self.recent = _native.TokenLog(4_096)
        for answer in recent or []:
            self.recent.extend(np.array(answer, dtype=np.int32))
            self.recent.end_text()
        self.native = _native.DraftIndex(_native.TokenLog(), log_of(predicted or []), self.recent)
        self.extend(tokens)

    def extend(self, tokens: list[int]) -> None:
        self.text += tokens
        self.native.extend(np.array(self.text, dtype=np.int32), len(self.text))

    def truncate(self, length: int) -> None:
        del self.text[length:]
        self.native.truncate(length)

    def propose(self, most: int) -> list[int]:
        return self.native.propose(most)


def log_of(tokens: list[int]) -> _native.TokenLog:
    log = _native.TokenLog()
    log.extend(np.array(tokens, dtype=np.int32))
    return log


def test_a_text_that_comes_again_is_proposed_from_its_third_token_on() -> None:
    index = Index([*FILE, 1, 2])
    for place in range(3):
        assert index.propose(5) == []
        index.extend([FILE[place]])
    for place in range(3, 100):
        assert index.propose(5) == FILE[place : place + 5]
        assert index.native.agreement == min(place, 32)
        index.extend([FILE[place]])


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
    index = Index([*FILE, 1, 2, *edited])
    assert index.propose(4) == FILE[next_place : next_place + 4]


def test_the_last_of_several_places_is_followed() -> None:
    index = Index([5, 6, 7, 1, *FILE[:40], 5, 6, 7, 2, 9, *FILE[50:90], 5, 6, 7])
    assert index.propose(2) == [2, 9]


def test_a_longer_run_comes_before_a_later_one() -> None:
    long = list(range(20, 30))
    index = Index([*long, 1, 9, *long[-3:], 2, 9, 8, *long])
    assert index.propose(1) == [1]


def test_what_repeats_itself_is_proposed_for_as_long_as_is_asked() -> None:
    assert Index([9, 1, 2, 3, 1, 2, 3, 1, 2, 3]).propose(8) == [1, 2, 3, 1, 2, 3, 1, 2]


def test_a_prediction_is_proposed_from_its_beginning() -> None:
    index = Index([1, 2, 3], predicted=FILE)
    assert index.propose(3) == []
    index.native.begin_prediction()
    assert index.native.origin == Origin.PREDICTION
    assert index.propose(3) == FILE[:3]
    index.extend(FILE[:148])
    assert index.propose(9) == FILE[148:]  # no further than it goes
    index.extend(FILE[148:])
    assert index.propose(9) == []
    assert index.propose(1) == []


def test_nothing_of_a_prediction_counts_as_text() -> None:
    assert Index([1, 2], predicted=FILE).native.length == 2
    assert Index([*FILE[-2:], 1], predicted=FILE).propose(3) == []


def test_what_is_taken_back_was_never_there() -> None:
    index = Index([*FILE[:20], 1, 2, *FILE[:5]])
    index.truncate(22)
    assert index.native.length == 22
    assert index.propose(3) == []
    index.extend(FILE[8:12])
    assert index.propose(3) == FILE[12:15]


@pytest.mark.parametrize("seed", range(5))
def test_proposals_follow_something_that_the_text_ends_with(seed: int) -> None:
    """Whatever was added and taken back, and however the tables have grown meanwhile."""
    rng = random.Random(seed)
    text: list[int] = []
    index = Index([])
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
            index.extend(new)
        tokens = index.propose(4)
        if tokens:
            proposed += 1
            agreement = index.native.agreement
            suffix = text[len(text) - agreement :]
            follows = [
                (text + tokens)[i : i + len(tokens)]
                for i in range(agreement, len(text))
                if text[i - agreement : i] == suffix
            ]
            assert agreement >= 1
            assert tokens in follows
    assert index.native.length == len(text)
    assert proposed > 10


def test_what_was_answered_of_late_is_proposed_where_nothing_nearer_is() -> None:
    index = Index([1, 2, 3, *FILE[:8]], recent=[[4, 5], FILE, [6, 7]])
    assert index.native.origin == Origin.RECENT
    assert index.propose(4) == FILE[8:12]
    index = Index([*FILE[:60], 1, 2, 3, *FILE[:8]], recent=[FILE[::-1], [*FILE[:8], 9, 9, 9]])
    assert index.native.origin == Origin.TEXT
    assert index.propose(4) == FILE[8:12]


def test_no_proposal_goes_on_into_another_answer() -> None:
    index = Index([1, 2, *FILE[:10]], recent=[FILE[:14], FILE[50:]])
    assert index.propose(9) == FILE[10:14]
    index.extend(FILE[10:14])
    assert index.propose(9) == []
    index.extend([FILE[50]])  # no run crosses either
    assert index.propose(9) == []


def test_an_answer_that_comes_meanwhile_is_proposed_and_one_that_is_forgotten_is_not() -> None:
    index = Index([1, 2, 3])
    index.recent.extend(np.array(FILE, dtype=np.int32))
    index.extend(FILE[:8])
    assert index.propose(2) == FILE[8:10]
    index.recent.clear()
    assert index.propose(2) == []
    index.extend(FILE[8:12])
    assert index.propose(2) == []


def test_of_many_answers_the_oldest_go() -> None:
    log = _native.TokenLog(4_096)
    index = _native.DraftIndex(_native.TokenLog(), _native.TokenLog(), log)
    text = np.array(FILE[:20], dtype=np.int32)
    log.extend(np.array(FILE, dtype=np.int32))
    index.extend(text, 10)
    assert index.propose(2) == FILE[10:12]
    bytes_when_full = 0
    for place in range(40):
        log.extend(np.arange(5_000 + 300 * place, 5_300 + 300 * place, dtype=np.int32))
        if place == 20:
            bytes_when_full = log.bytes
    assert len(log) == 4_096
    assert log.bytes == bytes_when_full
    assert index.propose(2) == []
    index.extend(text, 20)
    assert index.propose(2) == []
    late = np.arange(5_300 + 300 * 38, 5_320 + 300 * 38, dtype=np.int32)
    other = _native.DraftIndex(_native.TokenLog(), _native.TokenLog(), log)
    other.extend(late, 10)
    assert other.propose(3) == late[10:13].tolist()


@pytest.mark.parametrize("shared", [0, 1, 255, 256, 257, 511, 700])
def test_what_two_texts_begin_with_is_found(shared: int) -> None:
    text = list(range(700))
    log = log_of(text)
    other = np.array([*text[:shared], *(9_000 + i for i in range(50))], dtype=np.int32)
    assert log.common(other) == shared
    assert log.common(other[: shared // 2]) == shared // 2
    assert log.common(np.array([*text, 1], dtype=np.int32)) == 700


@pytest.mark.parametrize("length", [300, 5_000])
def test_a_long_prompt_at_once_is_as_one_token_by_token(length: int) -> None:
    rng = random.Random(length)
    tokens = [rng.randrange(40) for _ in range(length)] + FILE + [1, 2] + FILE[:9]
    at_once, one_by_one = Index(tokens), Index([])
    for token in tokens:
        one_by_one.extend([token])
    assert at_once.propose(20) == one_by_one.propose(20) == FILE[9:29]
    for token in tokens[:200]:
        at_once.extend([token])
        one_by_one.extend([token])
        assert at_once.propose(4) == one_by_one.propose(4)
