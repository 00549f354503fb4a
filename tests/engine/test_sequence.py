"""What a sequence is at: reading its prompt, or decoding."""

from __future__ import annotations

import pytest

from cierzo.engine.sequence import Sequence
from tests.engine.scheduling.steps import sequence


def decoding(prompt: int) -> Sequence:
    """A sequence whose prompt is computed, and whose first token is chosen."""
    one = sequence("one", prompt, answer=100)
    one.num_computed = prompt
    one.append(7)
    return one


def test_a_prompt_is_read_until_only_its_last_token_is_left() -> None:
    one = sequence("one", 20)
    for computed, is_decoding in ((0, False), (18, False), (19, True), (20, True)):
        one.num_computed = computed
        assert one.is_decoding == is_decoding


def test_forced_tokens_are_no_prompt() -> None:
    one = decoding(20)
    for _ in range(30):
        one.append(7)
    assert one.num_pending == 31
    assert one.is_decoding


@pytest.mark.parametrize("kept", [20, 25, 31])
def test_after_a_preemption_all_is_read_like_a_prompt(kept: int) -> None:
    """Whatever is taken back, or forced, meanwhile."""
    one = decoding(20)
    for _ in range(10):
        one.append(7)
    one.forget_computed()
    one.truncate(kept)
    for _ in range(5):
        one.append(7)
    for computed in range(one.num_tokens):
        one.num_computed = computed
        assert one.is_decoding == (computed >= kept - 1)


def test_what_is_taken_back_does_not_make_a_prompt_of_the_rest() -> None:
    one = decoding(20)
    one.truncate(20)
    assert one.num_pending == 1
    assert one.is_decoding
