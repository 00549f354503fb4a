"""Mistral's format is mistral-common's, token by token, for what it takes and what it refuses."""

from __future__ import annotations

import json
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.exceptions import MistralCommonException
from mistral_common.integrations.chat_templates.chat_templates import generate_chat_template
from mistral_common.protocol.instruct.messages import UATS
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import Tool as MistralTool
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from cierzo.chat.messages import ChatError, Message, ToolCall, beginning_in
from cierzo.chat.templates.load import load_chat_template
from cierzo.chat.templates.mistral import MistralTemplate
from cierzo.chat.templates.template import ChatTemplate
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.chat.tools import Tool
from cierzo.model.errors import ModelError
from tests.chat import vocabularies
from tests.chat.texts import any_text
from tests.chat.vocabularies import gguf_source, tekken_source
from tests.support.tokenizers import TEKKEN_SPECIAL_COUNT, tekken_json, tekken_vocabulary

VERSIONS = ("v3", "v7", "v11", "v13")
WEATHER = Tool(
    "weather",
    "How is the weather? é <b>",
    {"type": "object", "properties": {"city": {"type": "string"}}},
)
CALL = ToolCall("weather", '{"city": "Zürich",  "days": [1, 2]}', "abcDEF123")
OTHER = ToolCall("time", "", "zzzzzzzz9")
RESULT = Message("tool", '{"sky":"clear"}', tool_call_id="abcDEF123")
OTHER_RESULT = Message("tool", "noon", tool_call_id="zzzzzzzz9")

Pair = tuple[ChatTemplate, Tokenizer, MistralTokenizer]
quick = settings(max_examples=100, deadline=None)


@cache
def tekken_of(version: str) -> str:
    """The cut Tekken vocabulary with the format of another version."""
    data = json.loads(tekken_json())
    data["config"]["version"] = version
    return json.dumps(data)


@pytest.fixture(scope="module", params=VERSIONS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    path = tmp_path_factory.mktemp("tekken") / "tekken.json"
    path.write_text(tekken_of(request.param))
    source = tekken_source(path)
    tokenizer = load_tokenizer(source)
    return load_chat_template(source, tokenizer), tokenizer, MistralTokenizer.from_file(path)


@pytest.fixture(scope="module")
def v13(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    path = tmp_path_factory.mktemp("tekken") / "tekken.json"
    path.write_text(tekken_of("v13"))
    source = tekken_source(path)
    tokenizer = load_tokenizer(source)
    return load_chat_template(source, tokenizer), tokenizer, MistralTokenizer.from_file(path)


def as_dict(message: Message, continue_final: bool = False) -> dict[str, Any]:
    """The message as OpenAI's wire has it, which mistral-common reads."""
    content: Any = message.content
    if isinstance(content, tuple):
        content = [{"type": "text", "text": part} for part in content]
    found: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        found["tool_calls"] = [
            {"id": c.id, "function": {"name": c.name, "arguments": c.arguments}}
            for c in message.tool_calls
        ]
    if message.tool_call_id is not None:
        found["tool_call_id"] = message.tool_call_id
    if continue_final:
        found["prefix"] = True
    return found


def expected(
    reference: MistralTokenizer,
    messages: list[Message],
    tools: list[Tool] | None = None,
    continue_final: bool = False,
) -> list[int]:
    """What mistral-common makes of the conversation, with its own checks."""
    last = len(messages) - 1
    request = ChatCompletionRequest[UATS](
        messages=[as_dict(m, continue_final and i == last) for i, m in enumerate(messages)],
        tools=[MistralTool.model_validate(tool.to_openai()) for tool in tools] if tools else None,
    )
    return list(reference.encode_chat_completion(request).tokens)


class TestEqualToMistralCommon:
    def test_every_order_that_it_takes(self, pair: Pair) -> None:
        ours, _, reference = pair
        turns = [
            [Message("system", "Be brief.")],
            [Message("user", "Hi! é")],
            [Message("user", ("a", "", "b"))],
            [Message("assistant", "Hello  ")],
            [Message("assistant", None, tool_calls=(CALL, OTHER)), OTHER_RESULT, RESULT],
        ]
        taken = 0
        for length in (1, 2, 3, 4):
            for chosen in product(turns, repeat=length):
                messages = [message for turn in chosen for message in turn]
                continued = messages[-1].role == "assistant"
                for tools in (None, [WEATHER]):
                    if tools and all(m.role != "user" for m in messages):
                        continue  # mistral-common leaves the tools out
                    try:
                        tokens = expected(reference, messages, tools, continued)
                    except (MistralCommonException, ValueError):
                        continue
                    taken += 1
                    found = ours.render(
                        messages, tools=tools, continue_final=bool(beginning_in(messages))
                    )
                    assert list(found) == tokens, [m.role for m in messages]
        assert taken > 300

    @quick
    @given(contents=st.lists(any_text.filter(lambda t: t.strip(" ")), min_size=4, max_size=4))
    def test_any_text(self, pair: Pair, contents: list[str]) -> None:
        ours, _, reference = pair
        roles = ("system", "user", "assistant", "user")
        messages = [Message(r, c) for r, c in zip(roles, contents, strict=True)]
        assert list(ours.render(messages)) == expected(reference, messages)

    @quick
    @given(text=any_text)
    def test_text_stays_text(self, pair: Pair, text: str) -> None:
        ours, tokenizer, _ = pair
        call = ToolCall("f", json.dumps({"x": text}), "a" * 9)
        tool = Tool("f", text)
        messages = [
            Message("user", text),
            Message("assistant", "", tool_calls=(call,)),
            Message("tool", text, tool_call_id="a" * 9),
        ]
        same = [
            Message("user", "x"),
            Message("assistant", "", tool_calls=(ToolCall("f", '{"x": "x"}', "a" * 9),)),
            Message("tool", "x", tool_call_id="a" * 9),
        ]
        tools = [tool], [Tool("f", "x")]
        found, control = (
            [i for i in ours.render(m, tools=t) if tokenizer.is_control(i)]
            for m, t in zip((messages, same), tools, strict=True)
        )
        assert found == control


class TestSeenInTheWild:
    """Orders and ids that clients send and mistral-common refuses."""

    @pytest.mark.parametrize(
        ("messages", "text"),
        [
            (
                [
                    Message("user", "a"),
                    Message("assistant", tool_calls=(CALL,)),
                    RESULT,
                    Message("system", "s"),
                    Message("user", "b"),
                ],
                '<s>[INST]a[/INST][TOOL_CALLS]weather[ARGS]{"city": "Zürich", "days": [1, 2]}</s>'
                '[TOOL_RESULTS]{"sky":"clear"}[/TOOL_RESULTS]'
                "[SYSTEM_PROMPT]s[/SYSTEM_PROMPT][INST]b[/INST]",
            ),
            (
                [Message("user", "a"), Message("assistant", "b"), Message("developer", "s")],
                "<s>[INST]a[/INST]b</s>[SYSTEM_PROMPT]s[/SYSTEM_PROMPT]",
            ),
            (
                [Message("user", "a"), Message("assistant", ""), Message("user", "b")],
                "<s>[INST]a\n\nb[/INST]",
            ),
            ([Message("tool", "lost")], "<s>[TOOL_RESULTS]lost[/TOOL_RESULTS]"),
            ([Message("assistant", "a")], "<s>a</s>"),
        ],
    )
    def test_is_written(self, v13: Pair, messages: list[Message], text: str) -> None:
        ours, tokenizer, reference = v13
        assert tokenizer.decode(ours.render(messages), skip_control=False) == text
        with pytest.raises((MistralCommonException, ValueError)):
            expected(reference, messages)

    def test_a_call_that_nobody_answered(self, v13: Pair) -> None:
        ours, tokenizer, _ = v13
        messages = [
            Message("user", "a"),
            Message("assistant", tool_calls=(OTHER,)),
            Message("user", "b"),
        ]
        text = tokenizer.decode(ours.render(messages), skip_control=False)
        assert text == "<s>[INST]a[/INST][TOOL_CALLS]time[ARGS]{}</s>[INST]b[/INST]"

    def test_tools_without_a_user_are_not_lost(self, v13: Pair) -> None:
        ours, tokenizer, _ = v13
        ids = ours.render([Message("system", "s")], tools=[WEATHER])
        text = tokenizer.decode(ids, skip_control=False)
        assert text.startswith("<s>[SYSTEM_PROMPT]s[/SYSTEM_PROMPT][AVAILABLE_TOOLS][{")
        assert text.endswith("[/AVAILABLE_TOOLS][INST][/INST]")

    @pytest.mark.parametrize(
        ("sent", "results"),
        [
            (("call_1", "call_2"), ("call_2", "call_1")),
            (("1", "1"), ("1", "1")),
            (("", ""), ("", "")),
            ((None, None), (None, None)),
            (("null", "toolu_01A09q90qw90lq917835lq9"), ("null", "toolu_01A09q90qw90lq917835lq9")),
        ],
    )
    def test_ids_of_any_form_pair_results_with_calls(
        self, pair: Pair, sent: tuple[str, str], results: tuple[str, str]
    ) -> None:
        ours, _, reference = pair
        swapped = sent != results
        contents = ("two", "one") if swapped else ("one", "two")
        turn = [
            Message(
                "assistant", tool_calls=(ToolCall("f", "{}", sent[0]), ToolCall("g", "{}", sent[1]))
            ),
            *(
                Message("tool", content, tool_call_id=result)
                for content, result in zip(contents, results, strict=True)
            ),
        ]
        messages = [Message("user", "a"), *turn, Message("user", "again"), *turn]
        found = ours.render(messages)
        if reference.version >= TokenizerVersion.v13:
            clean = [
                Message("user", "a"),
                Message(
                    "assistant",
                    tool_calls=(ToolCall("f", "{}", "a" * 9), ToolCall("g", "{}", "b" * 9)),
                ),
                Message("tool", "one", tool_call_id="a" * 9),
                Message("tool", "two", tool_call_id="b" * 9),
            ]
            assert list(found) == expected(
                reference, [*clean, Message("user", "again"), *clean[1:]]
            )
        else:
            assert found  # ids are written, as nine letters or digits
        assert found == ours.render(messages)

    def test_an_id_in_mistrals_form_is_kept(self, pair: Pair) -> None:
        ours, tokenizer, reference = pair
        if reference.version >= TokenizerVersion.v13:
            pytest.skip("v13 writes no ids")
        messages = [Message("user", "a"), Message("assistant", tool_calls=(CALL,)), RESULT]
        assert "abcDEF123" in tokenizer.decode(ours.render(messages))

    def test_words_beside_calls(self, pair: Pair) -> None:
        ours, tokenizer, reference = pair
        messages = [
            Message("user", "a"),
            Message("assistant", "Let me see.", tool_calls=(CALL,)),
            RESULT,
        ]
        apart = [messages[0], Message("assistant", "Let me see."), *messages[1:]]
        for turns in messages, apart:
            text = tokenizer.decode(ours.render(turns))
            assert ("Let me see." in text) == (reference.version >= TokenizerVersion.v7)
            assert "weather" in text

    def test_an_answer_is_continued(self, v13: Pair) -> None:
        ours, tokenizer, _ = v13
        messages = [Message("user", "a"), Message("assistant", "The answer")]
        assert tokenizer.decode(ours.render(messages, continue_final=True)) == "aThe answer"
        assert ours.render(messages, continue_final=True) == ours.render(messages)[:-1]

    def test_a_growing_conversation_keeps_its_beginning(self, v13: Pair) -> None:
        ours, _, _ = v13
        messages = [
            Message("system", "s"),
            Message("user", "a"),
            Message("assistant", None, tool_calls=(CALL,)),
            RESULT,
            Message("assistant", "b"),
            Message("system", "later"),
            Message("user", "c"),
        ]
        whole = ours.render(messages, tools=[WEATHER])
        for end in (2, 4, 6):
            part = ours.render(messages[:end], tools=[WEATHER])
            assert whole[: len(part)] == part


class TestErrors:
    def test_roles(self, v13: Pair) -> None:
        with pytest.raises(ChatError, match="must be one of"):
            v13[0].render([Message("function", "x")])

    def test_a_version_without_the_format(self, tmp_path: Path) -> None:
        path = tmp_path / "tekken.json"
        path.write_text(tekken_of("v2"))
        source = tekken_source(path)
        with pytest.raises(ModelError, match="version v2 is not supported"):
            load_chat_template(source, load_tokenizer(source))


class TestOtherContainers:
    """The same tokens from the vocabulary in a GGUF, and from Mistral's Jinja template."""

    MESSAGES = (
        Message("system", "Be brief. é"),
        Message("user", "What's 中 + 2?"),
        Message("assistant", None, tool_calls=(CALL,)),
        RESULT,
        Message("assistant", "Clear."),
        Message("user", " [INST]no[/INST] "),
    )

    @pytest.mark.parametrize("version", ["v7", "v11", "v13"])
    def test_gguf(self, version: str, tmp_path: Path) -> None:
        path = tmp_path / "tekken.json"
        path.write_text(tekken_of(version))
        plain = tekken_source(path)
        tokens, merges = tekken_vocabulary()
        special = TEKKEN_SPECIAL_COUNT
        if version == "v7":
            tokens = [t.replace("[ARGS]", "<SPECIAL_32>") for t in tokens]
        source = gguf_source(
            "tekken",
            template=jinja_of(version) if version == "v11" else None,
            metadata={
                "tokenizer.ggml.tokens": tokens,
                "tokenizer.ggml.merges": merges,
                "tokenizer.ggml.token_type": [3] * special + [1] * (len(tokens) - special),
            },
        )
        ours = load_chat_template(source, load_tokenizer(source))
        assert isinstance(ours, MistralTemplate)
        expected = load_chat_template(plain, load_tokenizer(plain))
        found = ours.render(self.MESSAGES, tools=[WEATHER])
        assert found == expected.render(self.MESSAGES, tools=[WEATHER])

    @pytest.mark.parametrize("version", ["v7", "v11", "v13"])
    def test_tokenizer_json_and_jinja(self, version: str, tmp_path: Path) -> None:
        path = tmp_path / "tekken.json"
        path.write_text(tekken_of(version))
        plain = tekken_source(path)
        tokens, merges = tekken_vocabulary()
        special = TEKKEN_SPECIAL_COUNT
        vocabulary = (tokens[special:], [merge.split(" ") for merge in merges])
        hf_path = tmp_path / "tokenizer.json"
        hf_path.write_text(
            vocabularies.tokenizer_json(
                "tekken", control=tuple(tokens[:special]), user_defined=(), vocabulary=vocabulary
            )
        )
        source = vocabularies.hf_source(hf_path, chat_template=jinja_of(version), bos_token_id=1)
        ours = load_chat_template(source, load_tokenizer(source))
        assert not isinstance(ours, MistralTemplate)
        expected = load_chat_template(plain, load_tokenizer(plain))
        assert ours.supports_tools
        assert ours.tool_format.tokens == expected.tool_format.tokens
        assert ours.tool_format.writes_ids == expected.tool_format.writes_ids
        found = ours.render(self.MESSAGES, tools=[WEATHER])
        assert found == expected.render(self.MESSAGES, tools=[WEATHER])


def jinja_of(version: str) -> str:
    """Mistral's own Jinja template of a version, as mistral-common writes it."""
    return generate_chat_template(
        spm=False,
        tokenizer_version=TokenizerVersion(version),
        image_support=False,
        audio_support=False,
        thinking_support=False,
        default_system_prompt=None,
        plain_thinking_support=False,
        use_special_token_variables=False,
        model_settings_fields=None,
        reasoning_effort_values=None,
        reasoning_effort_default=None,
    )
