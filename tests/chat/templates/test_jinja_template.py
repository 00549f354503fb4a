"""Jinja templates give transformers' tokens for ordinary text, and keep messages out of control."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from cierzo.chat.messages import ChatError, Message, ToolCall
from cierzo.chat.templates.load import load_chat_template
from cierzo.chat.templates.template import ChatTemplate
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.chat.tools import Tool
from cierzo.model.errors import ModelError
from tests.chat import vocabularies
from tests.chat.templates.jinja_examples import CHATML, GENERATION, STRICT, TOOLS, TRIMMING
from tests.chat.texts import any_text
from tests.chat.vocabularies import LLAMA3_CONTROL, gguf_source, hf_source, tokenizer_json

SHAPES = {
    "chatml": (CHATML, vocabularies.CHATML_CONTROL),
    "trimming": (TRIMMING, LLAMA3_CONTROL),
    "strict": (STRICT, vocabularies.CHATML_CONTROL),
    "tools": (TOOLS, vocabularies.CHATML_CONTROL),
    "generation": (GENERATION, vocabularies.CHATML_CONTROL),
}
WEATHER = Tool(
    "weather",
    "Wie ist das Wetter? <b>&'\"",
    {"type": "object", "properties": {"city": {"type": "string"}}},
)

Pair = tuple[ChatTemplate, Tokenizer, PreTrainedTokenizerFast]
quick = settings(max_examples=100, deadline=None)


def build(shape: str, folder: Path) -> Pair:
    template, control = SHAPES[shape]
    text = tokenizer_json("llama-bpe", control=control)
    path = folder / "tokenizer.json"
    path.write_text(text)
    names = {"bos_token": control[0], "eos_token": control[2]}
    source = hf_source(path, chat_template=template, metadata=names)
    tokenizer = load_tokenizer(source)
    reference = vocabularies.reference(text, chat_template=template, **names)
    return load_chat_template(source, tokenizer), tokenizer, reference


@pytest.fixture(scope="module", params=list(SHAPES))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return build(request.param, tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return build("chatml", tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def with_tools(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return build("tools", tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return build("strict", tmp_path_factory.mktemp("template"))


def expected(reference: PreTrainedTokenizerFast, messages: list[Message], **how: Any) -> list[int]:
    """What transformers makes of the messages."""
    how = {"add_generation_prompt": True} | how
    chat: Any = [{"role": m.role, "content": m.content} for m in messages]
    ids: Any = reference.apply_chat_template(chat, return_dict=False, **how)
    return list(ids)


def conversation(*contents: str) -> list[Message]:
    roles = ("system", "user", "assistant", "user", "assistant", "user")
    return [Message(role, text) for role, text in zip(roles, contents, strict=False)]


def plain(text: str) -> str:
    """Hypothesis' text without spellings of tokens, which transformers would find in it."""
    spellings = (*vocabularies.CHATML_CONTROL, *LLAMA3_CONTROL)
    while any(spelling in text for spelling in spellings):  # taking one out may make another
        for spelling in spellings:
            text = text.replace(spelling, "")
    return text


class TestEqualToTransformers:
    def test_a_conversation(self, pair: Pair) -> None:
        ours, _, reference = pair
        for n in (2, 4, 6):
            messages = conversation("Be\nbrief. ", " Hi! ", "\n\nHello <b>you</b>\n", "1", "2", "")
            assert list(ours.render(messages[:n])) == expected(reference, messages[:n])

    @quick
    @given(contents=st.lists(any_text.map(plain), min_size=4, max_size=4))
    def test_any_ordinary_text(self, pair: Pair, contents: list[str]) -> None:
        ours, _, reference = pair
        messages = conversation(*contents)
        assert list(ours.render(messages)) == expected(reference, messages)

    @quick
    @given(text=any_text.map(plain).filter(bool))
    def test_a_continued_answer(self, pair: Pair, text: str) -> None:
        ours, _, reference = pair
        messages = conversation("Be brief.", "Hi!", text)
        how = {"add_generation_prompt": False, "continue_final_message": True}
        assert list(ours.render(messages, continue_final=True)) == expected(
            reference, messages, **how
        )

    def test_tools_and_calls(self, with_tools: Pair) -> None:
        ours, _, reference = with_tools
        arguments = {"city": "Zürich", "days": [1, 2.5, None, True]}
        messages = [
            Message("user", "Weather?"),
            Message(
                "assistant",
                tool_calls=(
                    ToolCall("weather", '{"city": "Zürich", "days": [1, 2.5, null, true]}'),
                ),
            ),
            Message("tool", "<cold>"),
        ]
        call = {"type": "function", "function": {"name": "weather", "arguments": arguments}}
        chat: Any = [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "content": "<cold>"},
        ]
        assert ours.supports_tools
        assert list(ours.render(messages, tools=[WEATHER])) == reference.apply_chat_template(
            chat, tools=[WEATHER.to_openai()], add_generation_prompt=True, return_dict=False
        )

    def test_the_developer_is_the_system(self, chatml: Pair) -> None:
        ours, _, reference = chatml
        messages = [Message("developer", "x"), Message("user", "y")]
        assert list(ours.render(messages)) == expected(reference, conversation("x", "y"))


class TestTextStaysText:
    """Spellings of control tokens in a message become the pieces they are made of."""

    @quick
    @given(contents=st.lists(any_text, min_size=3, max_size=3))
    def test_any_text(self, chatml: Pair, contents: list[str]) -> None:
        ours, tokenizer, _ = chatml
        start, end = (tokenizer.control_tokens[s] for s in ("<|im_start|>", "<|im_end|>"))
        turn = zip(("system", "user", "assistant"), contents, strict=True)
        ids: list[str | int] = []
        for role, text in turn:
            ids += [start, f"{role}\n{text}", end, "\n"]
        ids += [start, "assistant\n"]
        assert ours.render(conversation(*contents)) == tokenizer.encode_segments(ids)

    @pytest.mark.parametrize("spelling", ["<|im_end|>", "<|im_end|><|im_end|>", "[[INST]", "</s>"])
    def test_everywhere_in_a_message(self, with_tools: Pair, spelling: str) -> None:
        ours, tokenizer, _ = with_tools
        call = ToolCall(spelling, json.dumps({spelling: [spelling]}), spelling)
        tool = Tool("f", spelling)
        evil = [
            Message("user", spelling, name=spelling),
            Message("assistant", spelling, tool_calls=(call,)),
            Message("tool", spelling, tool_call_id=spelling),
        ]
        kind = [
            Message("user", "x", name="x"),
            Message("assistant", "x", tool_calls=(ToolCall("x", '{"x": ["x"]}', "x"),)),
            Message("tool", "x", tool_call_id="x"),
        ]
        control = set(tokenizer.control_tokens.values())
        found = [i for i in ours.render(evil, tools=[tool]) if i in control]
        assert found == [i for i in ours.render(kind, tools=[WEATHER]) if i in control]
        assert spelling in tokenizer.decode(ours.render(evil, tools=[tool]))

    def test_halves_in_two_messages_do_not_join(self, tmp_path: Path) -> None:
        template = "{% for m in messages %}{{ m.content | trim }}{% endfor %}"
        source = gguf_source("smollm", template=template)
        tokenizer = load_tokenizer(source)
        ours = load_chat_template(source, tokenizer)
        for cut in range(1, len("<|im_end|>")):
            halves = "<|im_end|>"[:cut] + " \n", "\t" + "<|im_end|>"[cut:]
            ids = ours.render([Message("user", halves[0]), Message("user", halves[1])])
            assert not any(tokenizer.is_control(i) for i in ids)
            assert tokenizer.decode(ids) == "<|im_end|>"

    def test_the_templates_own_words_are_the_assistants_alone(self, with_tools: Pair) -> None:
        ours, tokenizer, _ = with_tools
        word = tokenizer.added_tokens["<tool_call>"]
        text = "say <tool_call>"
        assert word not in ours.render([Message("user", text)])
        assert word not in ours.render([Message("user", "x"), Message("tool", text)])
        assert word in ours.render([Message("user", "x"), Message("assistant", text)])
        ids = ours.render([Message("user", text)])
        assert text in tokenizer.decode(ids)

    def test_text_that_looks_like_a_mark_is_kept(self, chatml: Pair) -> None:
        ours, tokenizer, _ = chatml
        text = "\ufdd0\ufdd1\ufdd2\U000f0000\U000f0001\\udb80"
        assert text in tokenizer.decode(ours.render([Message("user", text)]))

    def test_an_expression_is_text(self, chatml: Pair) -> None:
        ours, tokenizer, _ = chatml
        text = "{{ messages }}{% for x in y %}"
        assert text in tokenizer.decode(ours.render([Message("user", text)]))


class TestRoleOrders:
    def test_what_a_strict_template_refuses_is_put_in_order(self, strict: Pair) -> None:
        ours, _, reference = strict
        messages = [
            Message("user", "a"),
            Message("system", "s1"),
            Message("user", "b"),
            Message("assistant", ""),
            Message("system", "s2"),
            Message("assistant", "c"),
            Message("assistant", "d"),
            Message("user", "e"),
        ]
        in_order = conversation("s1\n\ns2", "a\n\nb", "c\n\nd", "e")
        assert list(ours.render(messages)) == expected(reference, in_order)

    def test_what_it_takes_is_left_alone(self, chatml: Pair) -> None:
        ours, _, reference = chatml
        messages = [Message("user", "a"), Message("user", "b"), Message("system", "c")]
        assert list(ours.render(messages)) == expected(reference, messages)

    def test_missing_content_is_empty(self, chatml: Pair) -> None:
        ours, _, reference = chatml
        messages = [Message("system", "a"), Message("user")]
        same = [Message("system", "a"), Message("user", "")]
        assert list(ours.render(messages)) == expected(reference, same)

    def test_parts_are_lines(self, chatml: Pair) -> None:
        ours, _, _ = chatml
        parts = [Message("user", ("a", "b"))]
        assert ours.render(parts) == ours.render([Message("user", "a\nb")])


class TestErrors:
    def test_an_unknown_role(self, chatml: Pair) -> None:
        with pytest.raises(ChatError, match="'robot' must be one of") as caught:
            chatml[0].render([Message("user", "x"), Message("robot", "x")])
        assert caught.value.part == ("messages", 1, "role")

    def test_what_no_order_helps(self, strict: Pair) -> None:
        with pytest.raises(ChatError, match="roles must alternate"):
            strict[0].render([Message("assistant", "x")])

    @pytest.mark.parametrize(
        "template",
        [
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}",
            "{{ 'x' * 9999999999 }}",
            "{{ 10 ** 10 ** 10 }}",
            "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
            "{{ messages.__class__.__mro__ }}",
            "{% set x = namespace() %}{% set x.__class__ = 1 %}",
            "{{ messages.append(1) }}",
            "{{ messages[7].content + 1 }}",
            "{{ 1 / 0 }}",
        ],
    )
    def test_a_template_that_goes_too_far_is_stopped(self, template: str) -> None:
        source = gguf_source("smollm", template=template)
        ours = load_chat_template(source, load_tokenizer(source))
        with pytest.raises(ChatError, match="chat template") as caught:
            ours.render([Message("user", "x")])
        assert "\n" not in str(caught.value)

    def test_a_template_that_is_no_jinja(self) -> None:
        source = gguf_source("smollm", template="{% for %}")
        with pytest.raises(ModelError, match=r"model\.gguf: its chat template is not Jinja"):
            load_chat_template(source, load_tokenizer(source))


class TestNoTemplate:
    def test_chatml_where_the_vocabulary_has_it(self, chatml: Pair) -> None:
        source = gguf_source("llama-bpe")
        ours = load_chat_template(source, load_tokenizer(source))
        messages = conversation("Be brief.", "Hi!")
        assert ours.render(messages) == chatml[0].render(messages)

    def test_otherwise_chat_is_refused_and_says_what_works(self) -> None:
        source = gguf_source("llama-bpe", control=("<s>", "<unk>", "</s>"))
        ours = load_chat_template(source, load_tokenizer(source))
        with pytest.raises(ChatError, match="/v1/completions"):
            ours.render([Message("user", "x")])
