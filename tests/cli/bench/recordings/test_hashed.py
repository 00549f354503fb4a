"""A trace of block ids as requests: their texts share what the recorded prompts shared."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from cierzo.cli.bench.recordings.hashed import hashed_turns
from cierzo.settings import SettingsError


def trace(*prompts: list[int], **fields: Any) -> dict[str, Any]:
    requests = [
        {"hash_ids": ids, "out": 128, "think_time": 1.5 * index}
        for index, ids in enumerate(prompts)
    ]
    return {
        "id": "t",
        "block_size": 64,
        "tool_tokens": 64,
        "system_tokens": 100,
        "requests": requests,
        **fields,
    }


def texts(scale: str, *prompts: list[int], **fields: Any) -> list[list[str]]:
    turns = hashed_turns(trace(*prompts, **fields), Fraction(scale))
    return [[message["content"] for message in turn.messages] for turn in turns]


def roles(*prompts: list[int]) -> list[list[str]]:
    turns = hashed_turns(trace(*prompts), Fraction(1, 16))
    return [[message["role"] for message in turn.messages] for turn in turns]


GROWING = ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8, 9])


def test_what_grows_is_an_answer_and_then_a_user() -> None:
    assert roles(*GROWING) == [
        ["system", "user"],
        ["system", "user", "assistant", "user"],
        ["system", "user", "assistant", "user"],  # a block more is all there is
    ]
    found = texts("1/16", *GROWING)
    assert [len(text.split()) for text in found[1]] == [8, 8, 8, 8]  # blocks of four words
    assert found[1][:2] == found[0]
    assert found[2][:3] == found[1][:3]
    assert found[2][3].startswith(found[1][3])


def test_a_changed_history_shares_what_it_did_and_no_more() -> None:
    first, second = texts("1/16", [1, 2, 3, 4, 5, 6], [1, 2, 3, 40, 50, 60, 70])
    assert " ".join(second).split()[:12] == " ".join(first).split()[:12]
    assert " ".join(second).split()[12:16] != " ".join(first).split()[12:16]


def test_a_history_that_only_shrank_ends_with_a_user() -> None:
    assert [prompt[-1] for prompt in roles(*GROWING, [1, 2, 3, 4, 5], [1, 2])] == ["user"] * 5


def test_texts_follow_from_ids_and_the_trace() -> None:
    assert texts("1/16", *GROWING) == texts("1/16", *GROWING)
    assert texts("1/16", *GROWING) != texts("1/16", *GROWING, id="other")


def test_sizes_are_scaled_even_where_blocks_do_not_divide() -> None:
    def length(scale: str) -> int:
        (prompt,) = texts(scale, list(range(100)))
        return len(" ".join(prompt).split())

    assert length("1") == 6400
    assert length("1/16") == 400
    assert length("1/48") == 133


def test_a_block_has_a_word_at_least() -> None:
    with pytest.raises(SettingsError, match="at least 1/64"):
        texts("1/65", [1])


def test_pauses_are_the_traces() -> None:
    assert [turn.think_s for turn in hashed_turns(trace(*GROWING), Fraction(1))] == [0, 1.5, 3]
