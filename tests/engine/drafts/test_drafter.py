"""Who drafts, how much, and what is learned from it."""

from __future__ import annotations

import numpy as np

from cierzo.engine.drafts.drafter import Draft, Drafter
from cierzo.engine.drafts.step_costs import StepCosts
from cierzo.engine.sampling_params import SamplingParams
from cierzo.engine.sequence import Sequence

FILE = list(range(1_000, 1_100))


def costs() -> StepCosts:
    """A machine on which a drafted token is cheap."""
    known = StepCosts()
    for _ in range(9):
        for drafted in (0, 7):
            known.observe(1, drafted, 0.5 + 0.05 * drafted)
    return known


def drafting(
    tokens: list[int], answer: int = 100, predicted: list[int] | None = None
) -> tuple[Sequence, Draft]:
    sequence = Sequence("s", tokens, SamplingParams(max_tokens=answer), max_len=10_000)
    return sequence, Draft(np.array(predicted or [], dtype=np.int32))


def drafted(sequence: Sequence) -> list[int]:
    end = sequence.num_tokens
    return sequence.tokens[end : end + sequence.num_draft].tolist()


def test_what_is_copied_is_drafted_and_what_is_new_is_not() -> None:
    copying, new = drafting([*FILE, 1, *FILE[:40]]), drafting(FILE)
    Drafter(costs()).plan([copying, new], decoding=2, room=60)
    assert drafted(copying[0]) == FILE[40 : 40 + copying[0].num_draft]
    assert copying[0].num_draft > 8
    assert new[0].num_draft == 0


def test_a_prediction_is_drafted_at_once() -> None:
    one = drafting([1, 2, 3], predicted=FILE)
    Drafter(costs()).plan([one], decoding=1, room=60)
    assert drafted(one[0])[:9] == FILE[:9]


def test_room_goes_to_who_is_likeliest() -> None:
    sure, less = drafting([*FILE, 1, *FILE[:60]]), drafting([*FILE, 1, *FILE[:3]])
    Drafter(costs()).plan([less, sure], decoding=2, room=5)
    assert (sure[0].num_draft, less[0].num_draft) == (5, 0)


def test_no_more_is_drafted_than_the_answer_may_have() -> None:
    one = drafting([*FILE, 1, *FILE[:60]], answer=4)
    Drafter(costs()).plan([one], decoding=1, room=60)
    assert one[0].num_draft == 3
    last = drafting([*FILE, 1, *FILE[:60]], answer=1)
    Drafter(costs()).plan([last], decoding=1, room=60)
    assert last[0].num_draft == 0


def test_drafts_that_are_wrong_cease_and_those_that_are_right_grow() -> None:
    one = drafting([*FILE, 1, *FILE[:10]])
    drafter = Drafter(costs())
    drafter.plan([one], decoding=1, room=60)
    first = one[0].num_draft
    assert first > 0
    for _ in range(100):
        drafter.learn(one[1], first, first)
    drafter.plan([one], decoding=1, room=60)
    assert one[0].num_draft > first
    for _ in range(2_000):
        drafter.learn(one[1], first, 0)
    drafter.plan([one], decoding=1, room=60)
    assert one[0].num_draft == 0


def test_tokens_that_were_taken_back_are_followed() -> None:
    sequence, draft = drafting([*FILE, 1, *FILE[:10]])
    drafter = Drafter(costs())
    drafter.plan([(sequence, draft)], decoding=1, room=4)
    for token in (7, 8, 9):
        sequence.append(token)
    drafter.plan([(sequence, draft)], decoding=1, room=4)
    assert sequence.num_draft == 0
    sequence.truncate(sequence.num_tokens - 3)
    for token in FILE[10:14]:
        sequence.append(token)
    drafter.plan([(sequence, draft)], decoding=1, room=4)
    assert drafted(sequence) == FILE[14:18]


def test_what_came_of_a_prediction_is_counted() -> None:
    sequence, draft = drafting([1, 2, 3], predicted=FILE)
    drafter = Drafter(costs())
    drafter.plan([(sequence, draft)], decoding=1, room=8)
    drafter.learn(draft, 8, 5)
    assert draft.news_of_prediction() == (5, 3)
    assert draft.news_of_prediction() == (0, 0)
