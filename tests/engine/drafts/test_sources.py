"""Texts and answers that were left are drafted from later: by who may see them, as room allows."""

from __future__ import annotations

import numpy as np
import pytest

from cierzo.engine.drafts import sources
from cierzo.engine.drafts.draft import Draft, Origin
from cierzo.engine.drafts.sources import Sources
from cierzo.engine.sampling_params import SamplingParams
from cierzo.engine.sequence import Sequence

NONE = np.array([], dtype=np.int32)
LONG = list(range(10_000, 11_000))
ANSWER = list(range(2_000, 2_100))
EVERYTHING = 1 << 30


def keeping() -> Sources:
    return Sources(drafts=True, keep=True)


def begin(
    kept: Sources, prompt: list[int], salt: str = "", *, retain: bool = True
) -> tuple[Sequence, Draft]:
    params = SamplingParams(max_tokens=500)
    sequence = Sequence("s", prompt, params, max_len=90_000, cache_salt=salt, retain=retain)
    draft = kept.draft_for(sequence, NONE)
    assert draft is not None
    return sequence, draft


def answer(
    kept: Sources, prompt: list[int], tokens: list[int], salt: str = "", *, retain: bool = True
) -> None:
    """A request from its beginning to its end."""
    sequence, draft = begin(kept, prompt, salt, retain=retain)
    draft.follow(sequence, EVERYTHING)
    for token in tokens:
        sequence.append(token)
    kept.leave(draft, sequence)


def proposed(kept: Sources, prompt: list[int], salt: str = "", *, retain: bool = True) -> list[int]:
    """What a request with that prompt is offered first; it leaves nothing."""
    sequence, draft = begin(kept, prompt, salt, retain=retain)
    draft.follow(sequence, EVERYTHING)
    return draft.index.propose(3)


def test_the_next_turn_has_the_last_one_read_already() -> None:
    kept = keeping()
    answer(kept, LONG, ANSWER)
    sequence, draft = begin(kept, [*LONG, *ANSWER[:50], 1, 2, *ANSWER[:3]])
    assert draft.index.length == len(LONG) + 50
    assert draft.follow(sequence, EVERYTHING) == 5
    assert draft.is_current(sequence)
    assert draft.index.propose(3) == ANSWER[3:6]


def test_the_longest_of_several_is_continued() -> None:
    kept = keeping()
    together = [begin(kept, LONG) for _ in range(3)]
    answers = [1, *ANSWER], [2, *ANSWER, *ANSWER], [3]
    for (sequence, draft), tokens in zip(together, answers, strict=True):
        draft.follow(sequence, EVERYTHING)
        for token in tokens:
            sequence.append(token)
        kept.leave(draft, sequence)
    _, draft = begin(kept, [*LONG, 2, *ANSWER, *ANSWER, 5])
    assert draft.index.length == len(LONG) + 1 + 2 * len(ANSWER)
    _, other = begin(kept, [*LONG, 1, *ANSWER, 5])
    assert other.index.length == len(LONG) + 1 + len(ANSWER)


def test_what_a_running_sequence_goes_on_with_no_other_one_changes() -> None:
    kept = keeping()
    answer(kept, LONG, ANSWER)
    prompt = [*LONG, *ANSWER, 1, *LONG[:3]]
    first, second = begin(kept, prompt), begin(kept, prompt)
    assert first[1].index.length > 0
    assert second[1].index.length == 0
    for sequence, draft in (first, second):
        draft.follow(sequence, EVERYTHING)
        assert draft.index.propose(2) == LONG[3:5]


def test_a_text_is_not_cut_down_for_who_shares_its_beginning_only() -> None:
    kept = keeping()
    answer(kept, LONG, ANSWER)
    _, draft = begin(kept, [*LONG[:500], 1])
    assert draft.index.length == 0
    _, draft = begin(kept, [*LONG, *ANSWER, 1])
    assert draft.index.length == len(LONG) + len(ANSWER)


def test_answers_are_offered_to_others_of_the_same_salt_only() -> None:
    kept = keeping()
    answer(kept, [5, 6], ANSWER, "one")
    assert proposed(kept, [1, *ANSWER[:8]], "one") == ANSWER[8:11]
    assert proposed(kept, [1, *ANSWER[:8]], "two") == []
    assert proposed(kept, [1, *ANSWER[:8]]) == []


def test_texts_are_continued_by_the_same_salt_only() -> None:
    kept = keeping()
    answer(kept, LONG, ANSWER, "one")
    for salt, length in (("two", 0), ("", 0), ("one", len(LONG) + len(ANSWER))):
        _, draft = begin(kept, [*LONG, *ANSWER, 1], salt)
        assert draft.index.length == length


def test_who_leaves_nothing_takes_nothing_away() -> None:
    kept = keeping()
    answer(kept, LONG, ANSWER, retain=False)
    assert kept.num_bytes == 0
    assert proposed(kept, [1, *ANSWER[:8]]) == []
    answer(kept, LONG, ANSWER)
    answer(kept, [*LONG, *ANSWER, 7], [*ANSWER, 8, *LONG[:900:-1]], retain=False)
    assert proposed(kept, [1, *LONG[:900:-1][:8]]) == []
    assert proposed(kept, [1, *ANSWER[:8]], retain=False) == ANSWER[8:11]
    _, draft = begin(kept, [*LONG, *ANSWER, 1])
    assert draft.index.length == len(LONG) + len(ANSWER)


def test_what_is_cleared_nobody_is_offered() -> None:
    kept = keeping()
    for salt in ("one", "two"):
        answer(kept, LONG, ANSWER, salt)
    running = begin(kept, [1, *ANSWER[:8]], "one")
    kept.clear("one")
    running[1].follow(running[0], EVERYTHING)
    assert running[1].index.propose(3) == []
    assert proposed(kept, [1, *ANSWER[:8]], "one") == []
    assert proposed(kept, [1, *ANSWER[:8]], "two") == ANSWER[8:11]
    for salt, length in (("one", 0), ("two", len(LONG) + len(ANSWER))):
        _, draft = begin(kept, [*LONG, *ANSWER, 1], salt)
        assert draft.index.length == length


def test_without_a_cache_every_request_has_its_own_words_alone() -> None:
    kept = Sources(drafts=True, keep=False)
    answer(kept, LONG, ANSWER)
    assert kept.num_bytes == 0
    assert proposed(kept, [1, *ANSWER[:8]]) == []
    assert proposed(kept, [*ANSWER, 1, *ANSWER[:8]]) == ANSWER[8:11]
    off = Sources(drafts=False, keep=True)
    assert off.draft_for(begin(kept, LONG)[0], NONE) is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_TEXT_BYTES", 1 << 20)
    kept = keeping()
    most_recent = 0
    for number in range(60):
        first = 20_000 + 1_000 * number
        answer(kept, list(range(first, first + 900)), ANSWER, f"salt {number % 20}")
        most_recent = max(most_recent, kept.num_bytes)
    assert most_recent < (1 << 20) + sources.MOST_SALTS * (40 << 10)
    late = list(range(first, first + 900))
    _, draft = begin(kept, [*late, *ANSWER, 1], "salt 19")
    assert draft.index.length == 1_000
    _, draft = begin(kept, [*range(20_000, 20_900), *ANSWER, 1], "salt 0")
    assert draft.index.length == 0


def test_an_answer_that_was_broken_off_in_its_prompt_is_no_source_yet() -> None:
    kept = keeping()
    sequence, draft = begin(kept, LONG)
    draft.follow(sequence, 700)
    kept.leave(draft, sequence)
    _, draft = begin(kept, [*LONG, 1])
    assert draft.index.length == 700
    assert draft.index.origin == Origin.TEXT
