"""Who drafts, how much, and what is learned from it."""

from __future__ import annotations

import numpy as np

from cierzo import _native
from cierzo.engine.drafts.draft import Draft
from cierzo.engine.drafts.drafter import TRIED, TRIED_EACH, Drafter
from cierzo.engine.sampling_params import SamplingParams
from cierzo.engine.sequence import Sequence
from cierzo.engine.step_costs import StepCosts, Work

FILE = list(range(1_000, 1_100))
EVERYTHING = 1 << 30


def costs() -> StepCosts:
    """A machine on which a drafted token is cheap."""
    known = StepCosts()
    for _ in range(9):
        for drafted in (0, 7):
            known.observe(Work(1, drafted), 0.5 + 0.05 * drafted)
    return known


def drafting(
    tokens: list[int], answer: int = 100, predicted: list[int] | None = None
) -> tuple[Sequence, Draft]:
    sequence = Sequence("s", tokens, SamplingParams(max_tokens=answer), max_len=10_000)
    return sequence, Draft(np.array(predicted or [], dtype=np.int32))


def plan(
    drafter: Drafter, drafts: list[tuple[Sequence, Draft]], *, decoding: int, room: int
) -> None:
    for sequence, draft in drafts:
        draft.follow(sequence, EVERYTHING)
    drafter.plan(drafts, decoding, room)


def drafted(sequence: Sequence) -> list[int]:
    end = sequence.num_tokens
    return sequence.tokens[end : end + sequence.num_draft].tolist()


def test_what_is_copied_is_drafted_and_what_is_new_is_not() -> None:
    copying, new = drafting([*FILE, 1, *FILE[:40]]), drafting(FILE)
    plan(Drafter(costs()), [copying, new], decoding=2, room=60)
    assert drafted(copying[0]) == FILE[40 : 40 + copying[0].num_draft]
    assert copying[0].num_draft > 8
    assert new[0].num_draft == 0


def test_a_prediction_is_drafted_at_once() -> None:
    one = drafting([1, 2, 3], predicted=FILE)
    plan(Drafter(costs()), [one], decoding=1, room=60)
    assert drafted(one[0])[:9] == FILE[:9]


def test_room_goes_to_who_is_likeliest() -> None:
    sure, less = drafting([*FILE, 1, *FILE[:60]]), drafting([*FILE, 1, *FILE[:3]])
    plan(Drafter(costs()), [less, sure], decoding=2, room=5)
    assert (sure[0].num_draft, less[0].num_draft) == (5, 0)


def test_no_more_is_drafted_than_the_answer_may_have() -> None:
    one = drafting([*FILE, 1, *FILE[:60]], answer=4)
    plan(Drafter(costs()), [one], decoding=1, room=60)
    assert one[0].num_draft == 3
    last = drafting([*FILE, 1, *FILE[:60]], answer=1)
    plan(Drafter(costs()), [last], decoding=1, room=60)
    assert last[0].num_draft == 0


def test_drafts_that_are_wrong_cease_and_those_that_are_right_grow() -> None:
    one = drafting([*FILE, 1, *FILE[:10]])
    drafter = Drafter(costs())
    plan(drafter, [one], decoding=1, room=60)
    first = one[0].num_draft
    assert first > 0
    for _ in range(100):
        drafter.learn(one[1], first, first)
    plan(drafter, [one], decoding=1, room=60)
    assert one[0].num_draft > first
    for _ in range(2_000):
        drafter.learn(one[1], first, 0)
    plan(drafter, [one], decoding=1, room=60)
    assert one[0].num_draft == 0


def test_what_seems_not_to_pay_is_tried_now_and_then_where_it_is_likely() -> None:
    """The one step with drafts that was seen may have been disturbed."""
    dear = StepCosts()
    for drafted_tokens, seconds in ((0, 0.005), (7, 3.0)):
        dear.observe(Work(1, drafted_tokens), seconds)
    drafter = Drafter(dear)
    likely, unlikely = drafting([1, 2, 3], predicted=FILE), drafting([*FILE, 1, *FILE[:3]])
    counts = []
    for _ in range(2 * (TRIED_EACH + 1)):
        plan(drafter, [likely, unlikely], decoding=2, room=60)
        counts.append((likely[0].num_draft, unlikely[0].num_draft))
    assert counts == [(TRIED, 0), *[(0, 0)] * TRIED_EACH] * 2
    plan(drafter, [unlikely], decoding=1, room=60)
    assert unlikely[0].num_draft == 0
    dear.observe(Work(1, TRIED), 0.006)
    plan(drafter, [likely], decoding=1, room=60)
    assert likely[0].num_draft > TRIED


def test_tokens_that_were_taken_back_are_followed() -> None:
    sequence, draft = drafting([*FILE, 1, *FILE[:10]])
    drafter = Drafter(costs())
    plan(drafter, [(sequence, draft)], decoding=1, room=4)
    for token in (7, 8, 9):
        sequence.append(token)
    plan(drafter, [(sequence, draft)], decoding=1, room=4)
    assert sequence.num_draft == 0
    sequence.truncate(sequence.num_tokens - 3)
    for token in FILE[10:14]:
        sequence.append(token)
    plan(drafter, [(sequence, draft)], decoding=1, room=4)
    assert drafted(sequence) == FILE[14:18]


def test_what_came_of_a_prediction_is_counted() -> None:
    sequence, draft = drafting([1, 2, 3], predicted=FILE)
    drafter = Drafter(costs())
    plan(drafter, [(sequence, draft)], decoding=1, room=8)
    drafter.learn(draft, 8, 5)
    assert draft.news_of_prediction() == (5, 3)
    assert draft.news_of_prediction() == (0, 0)


def test_a_long_prompt_is_indexed_some_in_each_step_and_drafted_from_when_all_is() -> None:
    new = [7_000 + i for i in range(2_000)]
    sequence, draft = drafting([*new, *FILE, 1, *FILE[:40]], predicted=new)
    taken = []
    while not draft.is_current(sequence):
        taken.append(draft.follow(sequence, 900))
    assert taken == [900, 900, 900, 900, len(FILE) + 41 + 4_000 - 3_600]
    assert draft.follow(sequence, 900) == 0
    assert draft.index.propose(2) == new[:2]


def test_origins_are_judged_apart() -> None:
    recent = _native.TokenLog(1_024)
    recent.extend(np.array(FILE, dtype=np.int32))
    of_recent = Sequence("s", [1, *FILE[:40]], SamplingParams(max_tokens=99), max_len=10_000)
    copies = of_recent, Draft(np.array([], dtype=np.int32), recent=recent)
    of_text = drafting([*FILE, 1, *FILE[:40]])
    drafter = Drafter(costs())
    plan(drafter, [copies, of_text], decoding=2, room=60)
    assert copies[0].num_draft > 0
    for _ in range(2_000):
        drafter.learn(copies[1], 4, 0)
    plan(drafter, [copies, of_text], decoding=2, room=60)
    assert copies[0].num_draft == 0
    assert of_text[0].num_draft > 8


def test_less_is_drafted_while_others_wait() -> None:
    alone, beside = drafting([*FILE, 1, *FILE[:60]]), drafting([*FILE, 1, *FILE[:60]])
    drafter = Drafter(costs())
    for _ in range(400):
        drafter.learn(alone[1], 8, 8)
    plan(drafter, [alone], decoding=1, room=200)
    plan(drafter, [beside], decoding=2, room=200)
    assert alone[0].num_draft > beside[0].num_draft > 8
