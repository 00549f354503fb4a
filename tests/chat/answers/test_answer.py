"""Answers are read the same however their tokens are grouped, and nothing that came is lost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cierzo.chat.answers.reader import AnswerReader, Step, call_id
from cierzo.chat.answers.reader import joined as joined_events
from cierzo.chat.calls.mistral_calls import mistral_format
from cierzo.chat.calls.text_calls import TextCalls, text_format
from cierzo.chat.calls.tool_format import Event, ToolFormat
from cierzo.chat.messages import ToolCall
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from tests.chat.templates.test_mistral_template import tekken_of
from tests.chat.vocabularies import gguf_source, tekken_source
from tests.chat.written_answers import answer_to, calls_of, text_of

many = settings(max_examples=200, deadline=None)
cuts = st.lists(st.integers(1, 7), max_size=40)
ids_of = partial(call_id, 3)
CALLS = (
    ("read", '{"path": "a/b.py", "why": "é \\"中\\" \\\\ {[", "deep": {"x": [1, {"y": "}"}]}}'),
    ("stop-it", "{}"),
    ("read", '{"path": ""}'),
)
TAGGED = "\n".join(
    f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'
    for name, arguments in CALLS
)
LISTED = json.dumps(
    [
        {"name": n, "arguments": json.loads(a), "id": f"abcdefgh{i}"}
        for i, (n, a) in enumerate(CALLS)
    ],
    ensure_ascii=False,
)
MISTRAL = {"v13": (True, False), "v11": (True, True), "v7": (False, True)}


@pytest.fixture(scope="module")
def tekken(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tekken") / "tekken.json"
    path.write_text(tekken_of("v13"))
    return load_tokenizer(tekken_source(path))


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    """A vocabulary with words <tool_call> and </tool_call>."""
    return load_tokenizer(gguf_source("llama-bpe"))


def form_of(tokenizer: Tokenizer, name: str) -> ToolFormat:
    if name in MISTRAL:
        args, ids = MISTRAL[name]
        found = mistral_format(tokenizer, args=args, ids=ids)
        assert found is not None
        return found
    return TextCalls() if name == "text" else text_format(tokenizer, "\n", "\n")


def tokens_of(tokenizer: Tokenizer, name: str, content: str) -> list[int]:
    """An answer with `content` and `CALLS`, as the format has them."""
    control = tokenizer.control_tokens
    segments: list[str | int] = [content]
    if name == "v7":
        segments += [control["[TOOL_CALLS]"], LISTED]
    elif name in MISTRAL:
        for index, (function, arguments) in enumerate(CALLS):
            segments += [control["[TOOL_CALLS]"], function]
            if name == "v11":
                segments += [control["[CALL_ID]"], f"abcdefgh{index}"]
            segments += [control["[ARGS]"], arguments]
    else:
        segments = [f"{content}\n{TAGGED}" if content else TAGGED]
    return list(tokenizer.encode_segments(segments))


def joined(steps: list[Step]) -> object:
    texts = tuple(t for step in steps for t in step.token_texts)
    stops = [step.stop_string for step in steps if step.stopped]
    return text_of(steps), calls_of(steps), texts, stops


FORMS = ("v13", "v11", "v7", "text", "tags")


@pytest.fixture(scope="module", params=FORMS)
def case(
    request: pytest.FixtureRequest, tekken: Tokenizer, words: Tokenizer
) -> tuple[Tokenizer, ToolFormat, str]:
    tokenizer = tekken if request.param in MISTRAL else words
    return tokenizer, form_of(tokenizer, request.param), request.param


Case = tuple[Tokenizer, ToolFormat, str]


class TestCalls:
    @pytest.mark.parametrize("content", ["", "Let me see. é", "a <tool_ca b\n\nc"])
    def test_are_read(self, case: Case, content: str) -> None:
        tokenizer, form, name = case
        ids = tokens_of(tokenizer, name, content)
        steps = answer_to(tokenizer, form, ids, call_ids=ids_of)
        assert text_of(steps) == content
        assert [(c.name, c.arguments) for c in calls_of(steps)] == list(CALLS)
        tokens = [t for step in steps for t in step.token_texts]
        assert [t.index for t in tokens] == list(range(len(ids)))
        assert [t.token_id for t in tokens] == ids

    @many
    @given(sizes=cuts)
    def test_in_any_groups(self, case: Case, sizes: list[int]) -> None:
        tokenizer, form, name = case
        ids = tokens_of(tokenizer, name, "Let me see.\n")
        steps = answer_to(tokenizer, form, ids, sizes, call_ids=ids_of)
        assert joined(steps) == joined(answer_to(tokenizer, form, ids, call_ids=ids_of))

    @many
    @given(data=st.data(), sizes=cuts)
    def test_any_tokens_in_any_groups(
        self, case: Case, data: st.DataObject, sizes: list[int]
    ) -> None:
        tokenizer, form, name = case
        likely = [*form.tokens, *tokens_of(tokenizer, name, "Well.")]
        one = st.sampled_from(likely) | st.integers(0, tokenizer.vocab_size - 1)
        ids = data.draw(st.lists(one, max_size=60))
        how = {"call_ids": ids_of, "stop": data.draw(st.sampled_from([(), ("e",), ("l.", "<to")]))}
        whole = answer_to(tokenizer, form, ids, (len(ids),), **how)
        steps = answer_to(tokenizer, form, ids, sizes, **how)
        assert joined(steps) == joined(whole)
        assert events_of(steps) == events_of(whole)

    def test_arguments_stream(self, case: Case) -> None:
        tokenizer, form, name = case
        steps = answer_to(tokenizer, form, tokens_of(tokenizer, name, ""), call_ids=ids_of)
        fragments = [d.arguments for step in steps for d in step.calls if d.index == 0]
        assert "".join(fragments) == CALLS[0][1]
        assert len(fragments) > 20

    def test_ids(self, case: Case) -> None:
        tokenizer, form, name = case
        ids = tokens_of(tokenizer, name, "")
        found = [c.id for c in calls_of(answer_to(tokenizer, form, ids, call_ids=ids_of))]
        written = [f"abcdefgh{i}" for i in range(3)]
        assert found == (written if name == "v11" else [call_id(3, i) for i in range(3)])

    def test_end_anywhere_keeps_what_came(self, case: Case) -> None:
        tokenizer, form, name = case
        ids = tokens_of(tokenizer, name, "Well.")
        whole = calls_of(answer_to(tokenizer, form, ids, call_ids=ids_of))
        most = 0
        for end in range(len(ids)):
            steps = answer_to(tokenizer, form, ids[:end], call_ids=ids_of)
            text = text_of(steps)
            assert "Well.".startswith(text) or "Well.\n<tool_call>".startswith(text)
            calls = calls_of(steps)
            for call, expected in zip(calls, whole, strict=False):
                assert expected.arguments.startswith(
                    call.arguments.rstrip("\ufffd")
                )  # a cut letter
                assert expected.name.startswith(call.name)
            assert calls[:-1] == whole[: max(len(calls) - 1, 0)]
            came = sum(len(c.name) + len(c.arguments) for c in calls)
            assert came >= most
            most = came

    def test_a_format_is_needed(self, tekken: Tokenizer) -> None:
        ids = tokens_of(tekken, "v13", "Well.")
        steps = answer_to(tekken, None, ids)
        assert not calls_of(steps)
        assert text_of(steps) == tekken.decode(ids)


class TestStopStrings:
    def test_end_the_content(self, case: Case) -> None:
        tokenizer, form, name = case
        ids = tokens_of(tokenizer, name, "Well, then. So")
        steps = answer_to(tokenizer, form, ids, stop=("then",), call_ids=ids_of)
        assert (text_of(steps), calls_of(steps)) == ("Well, ", [])
        assert [s.stop_string for s in steps if s.stopped] == ["then"]

    def test_are_not_looked_for_in_calls(self, case: Case) -> None:
        tokenizer, form, name = case
        ids = tokens_of(tokenizer, name, "Well")
        steps = answer_to(tokenizer, form, ids, stop=("path", "}", '"'), call_ids=ids_of)
        assert [(c.name, c.arguments) for c in calls_of(steps)] == list(CALLS)
        assert not any(step.stopped for step in steps)

    def test_what_may_become_one_is_content_where_calls_begin(self, case: Case) -> None:
        tokenizer, form, name = case
        ids = tokens_of(tokenizer, name, "Well the")
        steps = answer_to(tokenizer, form, ids, stop=("then",), call_ids=ids_of)
        assert text_of(steps) == "Well the"
        assert len(calls_of(steps)) == 3

    def test_one_that_is_complete_before_the_tag(self, words: Tokenizer) -> None:
        ids = words.encode("a ") + [i for c in TAGGED for i in words.encode(c)]
        steps = answer_to(words, TextCalls(), ids, stop=("<tool_",))
        assert (text_of(steps), calls_of(steps)) == ("a ", [])
        assert any(step.stopped for step in steps)


class TestOtherSpellings:
    """What models write that no grammar holds."""

    @pytest.mark.parametrize(
        ("text", "calls"),
        [
            ('<tool_call>{"name":"f","arguments":{"a":1}}</tool_call>', [("f", '{"a":1}')]),
            (
                '<tool_call>\n{"arguments": {"a": 1}, "name": "f"}\n</tool_call>',
                [("f", '{"a": 1}')],
            ),
            ('<tool_call>\n{"name": "f", "arguments": "{\\"a\\": 1}"}', [("f", '{"a": 1}')]),
            ('<tool_call>{"name": "f"}</tool_call>', [("f", "{}")]),
            ('<tool_call>{"name": "f", "arguments": {}, "id": "x"}</tool_call>', [("f", "{}")]),
            ('<tool_call>{"name": "f', [("f", "")]),
            ('<tool_call>{"name": "f", "arg', [("f", "")]),
            ('<tool_call>{"name": "f", "arguments": {"a": [', [("f", '{"a": [')]),
            ("<tool_call>\n{", []),
            ("<tool_call>", []),
        ],
    )
    def test_tagged(self, words: Tokenizer, text: str, calls: list[tuple[str, str]]) -> None:
        steps = answer_to(words, TextCalls(), words.encode(f"Well. {text}"))
        assert text_of(steps) == "Well."
        assert [(c.name, c.arguments) for c in calls_of(steps)] == calls

    @pytest.mark.parametrize(
        "text",
        ["Well.<tool_call> what a word", "<tool_call>[1]</tool_call>", '<tool_call>{"x": 1}'],
    )
    def test_what_is_no_call_is_content(self, words: Tokenizer, text: str) -> None:
        steps = answer_to(words, TextCalls(), words.encode(text))
        assert text_of(steps).replace("</tool_call>", "") == text.replace("</tool_call>", "")
        assert not calls_of(steps)

    def test_words_after_a_call(self, words: Tokenizer) -> None:
        text = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\nThat was it.'
        steps = answer_to(words, TextCalls(), words.encode(text))
        assert [c.name for c in calls_of(steps)] == ["f"]
        assert text_of(steps).strip() == "That was it."

    @pytest.mark.parametrize(
        ("text", "calls"),
        [
            ('[{"name":"f","arguments":{"a":1}}]', [("f", '{"a":1}')]),
            ('[{"id": "x", "name": "f", "arguments": {}}]', [("f", "{}")]),
            ('{"name": "f", "arguments": {}}', [("f", "{}")]),
            ('[{"name": "f', [("f", "")]),
            ('[{"name": "f", "arguments": {}, "id": "ab', [("f", "{}")]),
        ],
    )
    def test_lists(self, tekken: Tokenizer, text: str, calls: list[tuple[str, str]]) -> None:
        ids = list(tekken.encode_segments([tekken.control_tokens["[TOOL_CALLS]"], text]))
        steps = answer_to(tekken, form_of(tekken, "v7"), ids)
        assert [(c.name, c.arguments) for c in calls_of(steps)] == calls
        assert text_of(steps) == ""

    def test_a_name_without_arguments(self, tekken: Tokenizer) -> None:
        trigger = tekken.control_tokens["[TOOL_CALLS]"]
        ids = list(tekken.encode_segments([trigger, "f", trigger, "g"]))
        calls = calls_of(answer_to(tekken, form_of(tekken, "v13"), ids))
        assert [(c.name, c.arguments) for c in calls] == [("f", ""), ("g", "")]

    def test_an_id_that_is_none_is_replaced(self, tekken: Tokenizer) -> None:
        control = tekken.control_tokens
        segments: list[str | int] = [
            control["[TOOL_CALLS]"],
            "f",
            control["[CALL_ID]"],
            "a!",
            control["[ARGS]"],
            "{}",
        ]
        calls = calls_of(
            answer_to(tekken, form_of(tekken, "v11"), list(tekken.encode_segments(segments)))
        )
        assert calls == [ToolCall("f", "{}", call_id(0, 0))]

    @pytest.mark.parametrize(
        "text",
        [
            '{"name": "' + "x" * 50_000,
            '{"name": "f"' + " " * 50_000 + "x",
            '{"name": "f", "a' + " " * 50_000 + "x",
            '{"name": "f", "arguments": {}' + " " * 50_000 + "x",
            "{" + ' "a"' * 20_000,
            " \n" * 50_000 + "x",
        ],
    )
    def test_a_long_text_without_end_takes_no_long_time(self, words: Tokenizer, text: str) -> None:
        answer = AnswerReader(words, TextCalls())
        ids = words.encode(f"<tool_call>{text}")
        pieces = [answer.push((i,)) for i in ids] + [answer.finish()]
        shown = text_of(pieces) + "".join(call.name for call in calls_of(pieces))
        assert text.strip() in shown or "f" in shown or text[10:] in shown


def events_of(steps: Iterable[Step]) -> tuple[Event, ...]:
    """Texts and calls in their order, as if they had come in one step."""
    events: tuple[Event, ...] = ()
    for step in steps:
        events = joined_events(events, step.events)
    return events


class TestEnd:
    def test_nothing_follows_it(self, case: Case) -> None:
        tokenizer, form, name = case
        answer = AnswerReader(tokenizer, form)
        answer.finish()
        assert answer.push(tokens_of(tokenizer, name, "Well.")) == Step()
        assert answer.finish() == Step()

    def test_space_at_the_end_of_content_is_kept_without_calls(self, case: Case) -> None:
        tokenizer, form, _ = case
        steps = answer_to(tokenizer, form, tokenizer.encode("Well. \n"))
        assert text_of(steps) == "Well. \n"


def test_ids_follow_from_seed_and_position() -> None:
    ids = [call_id(seed, position) for seed in range(50) for position in range(50)]
    assert len(set(ids)) == len(ids)
    assert all(len(i) == 9 and i.isalnum() and i.isascii() for i in ids)
    assert ids == [call_id(seed, position) for seed in range(50) for position in range(50)]
