"""Where two prompts part, and how much of the earlier one could have been reused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cierzo.generate.reuse.parting import Tokens, overlap, packed, parting, shared

# Some letters, so that prompts share beginnings of any length.
prompts = st.lists(st.integers(0, 2), max_size=6).map(lambda ids: packed(ids * 200))


def plain(one: Tokens, other: Tokens) -> int:
    pairs = zip(one.tolist(), other.tolist(), strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@given(prompts, prompts)
def test_what_is_shared_is_what_a_walk_finds(one: Tokens, other: Tokens) -> None:
    assert shared(one, other) == plain(one, other)
    longer = np.concatenate([one, other])
    assert shared(one, longer) == len(one)


@pytest.mark.parametrize("at", [0, 1, 255, 256, 257, 4_351, 4_352, 9_999])
def test_one_token_that_differs_is_found_wherever_it_is(at: int) -> None:
    one = packed(range(10_000))
    other = one.copy()
    other[at] = -1
    assert shared(one, other) == at


@pytest.mark.parametrize(
    ("prompt", "answers", "new", "expected"),
    [
        # It goes on where the answer ended, whose last token was not computed.
        ([1, 2, 3], [[4, 5]], [1, 2, 3, 4, 5, 6, 7], (4, 4, 0)),
        ([1, 2, 3], [[9], [4, 5]], [1, 2, 3, 4, 5, 6, 7], (4, 4, 1)),
        # The same again: all but its own last token, which is computed for its logits.
        ([1, 2, 3], [[4, 5]], [1, 2, 3], (2, 2, None)),
        ([1, 2, 3], [], [1, 2, 3], (2, 2, None)),
        ([1, 2, 3], [], [1, 2, 3, 4], (2, 2, None)),  # after a prompt that was only read
        # It parts in the prompt, and in the answer.
        ([1, 2, 3], [[4, 5]], [1, 9, 3, 4, 5, 6], (1, 4, None)),
        ([1, 2, 3], [[4, 5, 6]], [1, 2, 3, 4, 9, 6, 7], (4, 5, 0)),
        ([1, 2, 3], [[4, 5, 6]], [7], (0, 0, None)),
    ],
)
def test_what_could_be_reused(
    prompt: list[int],
    answers: list[list[int]],
    new: list[int],
    expected: tuple[int, int, int | None],
) -> None:
    found = parting(packed(prompt), [packed(a) for a in answers], packed(new))
    assert (found.common, found.reusable, found.answer) == expected
    assert found.missed == found.reusable - found.common


def test_overlap_looks_at_tokens_wherever_they_are() -> None:
    assert overlap(packed([1, 2, 3, 4]), packed([4, 3, 2, 9])) == 0.75
    assert overlap(packed([1]), packed([1, 2, 3, 4])) == 0.25
    assert overlap(packed([]), packed([])) == 1.0
