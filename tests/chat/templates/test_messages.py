"""Conversations are put in order, and calls paired with results, whatever ids they came with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cierzo.chat.messages import (
    Message,
    ToolCall,
    beginning_in,
    merge_turns,
    pair_tool_results,
)

sent_ids = st.one_of(st.none(), st.sampled_from(["", "null", "1", "call_abc", "abcDEF123", "🙂"]))


@given(ids=st.lists(sent_ids, min_size=1, max_size=4))
def test_each_call_of_a_turn_gets_an_id_of_its_own(ids: list[str | None]) -> None:
    calls = tuple(ToolCall(f"f{i}", "{}", sent) for i, sent in enumerate(ids))
    results = [Message("tool", str(i), tool_call_id=sent) for i, sent in enumerate(ids)]
    assistant, *answers = pair_tool_results([Message("assistant", tool_calls=calls), *results])
    ours = [call.id for call in assistant.tool_calls]
    assert len(set(ours)) == len(ours)
    assert all(i is not None and len(i) == 9 and i.isalnum() and i.isascii() for i in ours)
    if None not in ids and "" not in ids:
        assert [answer.tool_call_id for answer in answers] == ours
    else:
        assert {answer.tool_call_id for answer in answers} == set(ours)


def test_results_find_their_calls_by_id() -> None:
    calls = (ToolCall("f", "{}", "a"), ToolCall("g", "{}", "b"))
    messages = [
        Message("assistant", tool_calls=calls),
        Message("tool", "of g", tool_call_id="b"),
        Message("tool", "of f", tool_call_id="a"),
        Message("tool", "of none", tool_call_id="c"),
    ]
    assistant, of_g, of_f, of_none = pair_tool_results(messages)
    f, g = (call.id for call in assistant.tool_calls)
    assert (of_f.tool_call_id, of_g.tool_call_id) == (f, g)
    assert of_none.tool_call_id not in (f, g)


def test_turns_are_merged_but_not_calls_nor_results() -> None:
    call = ToolCall("f", "{}", "a")
    messages = [
        Message("user", "1"),
        Message("user", ("2", "3")),
        Message("assistant", "x"),
        Message("assistant", "y", tool_calls=(call,)),
        Message("tool", "r", tool_call_id="a"),
        Message("tool", "s", tool_call_id="b"),
        Message("assistant", None),
        Message("system", "first"),
    ]
    assert merge_turns(messages) == [
        Message("system", "first"),
        Message("user", "1\n\n2\n\n3"),
        Message("assistant", "x\n\ny", tool_calls=(call,)),
        Message("tool", "r", tool_call_id="a"),
        Message("tool", "s", tool_call_id="b"),
    ]


def test_an_answer_goes_on_with_words_of_the_assistant_s_alone() -> None:
    said = Message("assistant", ("Well", ", I"))
    assert beginning_in([Message("user", "x"), said]) == "Well, I"
    called = Message("assistant", "Well", tool_calls=(ToolCall("f", "{}"),))
    for final in (Message("user", "x"), Message("assistant", ""), Message("assistant"), called):
        assert beginning_in([said, final]) == ""
    assert beginning_in([]) == ""
