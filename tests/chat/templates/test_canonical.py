"""What a client sends back of an answer becomes one spelling again."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cierzo.chat.messages import ChatError, Message, ToolCall
from cierzo.chat.templates.canonical import canonical, canonical_arguments, in_call_order

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
CALL = ToolCall("f", '{"a": 1}', "x")


class TestArguments:
    @settings(max_examples=300, deadline=None)
    @given(value=json_values)
    def test_any_spelling_becomes_one(self, value: Any) -> None:
        spellings = [
            json.dumps(value),
            json.dumps(value, separators=(",", ":")),
            json.dumps(value, indent=2),
            json.dumps(value, ensure_ascii=False, separators=(" , ", " :\t")),
            f"\n {json.dumps(value)} ",
        ]
        for spelling in spellings:
            found = canonical_arguments(spelling)
            assert found == canonical_arguments(found)
            assert json.loads(found) == json.loads(spelling)
        assert len({canonical_arguments(s) for s in spellings}) == 1

    @pytest.mark.parametrize(
        ("sent", "found"),
        [
            ("", "{}"),
            ("  ", "{}"),
            ('{"b":1,"a":2}', '{"b": 1, "a": 2}'),  # the order is the model's
            ('{"a":1,"a":2}', '{"a": 2}'),
            ('{"x":-0,"y":-0.0,"z":1e2}', '{"x": 0, "y": -0.0, "z": 100.0}'),
            ('{"big":123456789012345678901234567890}', '{"big": 123456789012345678901234567890}'),
            ('{"x":"\\u00e9\\/\\u001f\\uD83D\\uDE00"}', '{"x": "é/\\u001f😀"}'),
            ('{"x":"\\ud800"}', '{"x": "\ufffd"}'),
            ("[1,2]", "[1, 2]"),
            (f"[{'9' * 4000}]", f"[{'9' * 4000}]"),
            (f"[{'9' * 5000}]", "[Infinity]"),
            ("not JSON {", "not JSON {"),
            ('{"cut": "of', '{"cut": "of'),
            ('"\\ud800', '"\\ud800'),
            ("\ud800", "\ufffd"),
        ],
    )
    def test_corners(self, sent: str, found: str) -> None:
        assert canonical_arguments(sent) == found

    def test_what_json_has_no_word_for_is_kept(self) -> None:
        value = json.loads(canonical_arguments('{"a": NaN, "b": 1e999}'))
        assert math.isnan(value["a"])
        assert math.isinf(value["b"])

    def test_nesting_without_end_is_refused_by_name(self) -> None:
        deep = ToolCall("f", "[" * 100_000, "x")
        messages = [Message("user", "a"), Message("assistant", tool_calls=(CALL, deep))]
        with pytest.raises(ChatError, match="too deeply") as caught:
            canonical(messages)
        assert caught.value.part == ("messages", 1, "tool_calls", 1, "arguments")


class TestContent:
    @pytest.mark.parametrize("content", [None, "", (), ("",), " \n", ("", " "), (" ", "\n", "")])
    def test_forms_of_nothing(self, content: Any) -> None:
        (found,) = canonical([Message("assistant", content, tool_calls=(CALL,))])
        assert found.content is None

    @pytest.mark.parametrize("content", ["a b", " a b\n", ("a b",), ("", "\n", " a b ", " ")])
    def test_space_around_it(self, content: Any) -> None:
        (found,) = canonical([Message("assistant", content, tool_calls=(CALL,))])
        assert found.content == "a b"

    def test_parts_keep_what_is_between_them(self) -> None:
        (found,) = canonical([Message("assistant", (" a ", "", " b "), tool_calls=(CALL,))])
        assert found.content == ("a ", " b")

    def test_other_turns_are_left_alone(self) -> None:
        turns = [Message(role, " a ") for role in ("system", "user", "assistant", "tool")]
        assert canonical(turns) == turns


class TestCallOrder:
    def calls(self, *ids: str | None) -> Message:
        return Message("assistant", tool_calls=tuple(ToolCall("f", "{}", i) for i in ids))

    @given(
        order=st.permutations([0, 1, 2, 3]),
        ids=st.lists(st.sampled_from(["a", "b", "call_1", "🙂"]), min_size=4, max_size=4),
    )
    def test_results_follow_their_calls(self, order: list[int], ids: list[str]) -> None:
        results = [Message("tool", str(i), tool_call_id=ids[i]) for i in range(4)]
        sent = [self.calls(*ids), *(results[i] for i in order)]
        found = in_call_order(sent)
        assert found[0] == sent[0]
        assert [m.tool_call_id for m in found[1:]] == ids
        assert sorted(m.content for m in found[1:]) == ["0", "1", "2", "3"]  # type: ignore[type-var]

    def test_two_assistant_messages_are_one_turn(self) -> None:
        b, a = Message("tool", "b", tool_call_id="b"), Message("tool", "a", tool_call_id="a")
        assert in_call_order([self.calls("a"), self.calls("b"), b, a])[2:] == [a, b]

    def test_results_of_no_call_go_last(self) -> None:
        lost, a = Message("tool", "x", tool_call_id="?"), Message("tool", "a", tool_call_id="a")
        assert in_call_order([self.calls("a"), lost, a])[1:] == [a, lost]

    def test_ids_that_every_turn_repeats(self) -> None:
        turn = [
            self.calls("1", "2"),
            Message("tool", "second", tool_call_id="2"),
            Message("tool", "first", tool_call_id="1"),
        ]
        found = in_call_order([*turn, Message("user", "again"), *turn])
        contents = [m.content for m in found if m.role == "tool"]
        assert contents == ["first", "second", "first", "second"]

    def test_a_result_after_another_turn_stays_there(self) -> None:
        late = [
            self.calls("1", "2"),
            Message("tool", "second", tool_call_id="2"),
            Message("user", "and?"),
            Message("tool", "first", tool_call_id="1"),
        ]
        assert in_call_order(late) == late
