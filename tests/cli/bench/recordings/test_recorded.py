"""A recorded message list as requests: one for each recorded answer, with the history before it."""

from __future__ import annotations

import itertools

import pytest

from cierzo.cli.bench.recordings.recorded import recorded_turns
from tests.cli.bench.sessions import SESSION


def test_plain_turns_are_text_of_user_and_assistant_in_turn() -> None:
    turns = [turn.messages for turn in recorded_turns(SESSION, plain=True)]
    assert [[message["role"] for message in messages] for messages in turns] == [
        ["system", "user"],
        ["system", "user", "assistant", "user"],
        ["system", "user", "assistant", "user", "assistant", "user"],
    ]
    assert all(set(message) == {"role", "content"} for message in turns[-1])
    assert [message["content"] for message in turns[-1]] == [
        "Mend the program.",
        "It prints 344.",
        'I look.\n\nCall sh:\n{"c": "ls"}',
        "Result:\na.py",
        'Call sh:\n{"c": "cat a.py"}\n\nCall sh:\n{}',
        "Result:\nprint(344)\n\nResult:\n\n\nGo on.",
    ]


@pytest.mark.parametrize("plain", [True, False])
def test_each_history_begins_with_the_one_before(plain: bool) -> None:
    turns = [turn.messages for turn in recorded_turns(SESSION, plain=plain)]
    for before, after in itertools.pairwise(turns):
        assert after[: len(before)] == before
        assert len(after) > len(before)


def test_as_recorded_calls_stay_calls_with_ids_that_every_server_takes() -> None:
    *_, last = recorded_turns(SESSION, plain=False)
    assert [message["role"] for message in last.messages] == [m["role"] for m in SESSION[:-1]]
    asked = [call["id"] for message in last.messages for call in message.get("tool_calls", ())]
    answered = [m["tool_call_id"] for m in last.messages if m["role"] == "tool"]
    assert asked == answered
    assert len(set(asked)) == 3
    assert all(len(call_id) == 9 and call_id.isalnum() for call_id in asked)
    assert last.messages[4]["content"] == ""
    assert "reasoning_content" not in last.messages[4]


def test_a_later_system_message_is_the_users() -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": "Hi"},
    ]
    (turn,) = recorded_turns(messages, plain=True)
    assert turn.messages == ({"role": "user", "content": "Hi\n\nBe brief."},)


def test_pictures_are_not_left_out_in_silence() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    with pytest.raises(ValueError, match="only text can be replayed"):
        list(recorded_turns([{"role": "user", "content": [picture]}], plain=True))
