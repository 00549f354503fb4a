"""A prompt has the same tokens whatever was encoded before it, and by whom."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cierzo.chat.messages import ChatError, Message, ToolCall, beginning_in
from cierzo.chat.recent import Recent, RecentOf
from cierzo.chat.templates.template import ChatTemplate
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.chat.tools import Tool
from tests.chat.calls.test_text_calls import NO_SYSTEM, QWEN
from tests.chat.templates.jinja_examples import CHATML, STRICT
from tests.chat.templates.loaded import loaded
from tests.chat.templates.test_mistral_template import VERSIONS
from tests.chat.texts import any_text
from tests.chat.vocabularies import hf_source, tokenizer_json
from tests.chat.written_answers import TOOLS

TEMPLATES = {"chatml": CHATML, "strict": STRICT, "no system": NO_SYSTEM, "qwen": QWEN}
Model = tuple[ChatTemplate, Tokenizer, Recent]


@pytest.fixture(scope="module", params=[*VERSIONS, *TEMPLATES])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    return *loaded(request.param, TEMPLATES, folder), Recent(100_000)


few = st.sampled_from(("", "a", " a ", "{}", '{"b": 1}', "<|im_end|>", "[INST]", "\N{WIND CHIME}"))
content = st.one_of(st.none(), few, any_text, st.lists(few, max_size=3).map(tuple))
call = st.builds(ToolCall, st.sampled_from(("f", "g")), few, st.sampled_from((None, "1", "2")))
message = st.one_of(
    st.builds(Message, st.sampled_from(("system", "user")), content),
    st.builds(
        Message, st.just("assistant"), content, tool_calls=st.lists(call, max_size=2).map(tuple)
    ),
    st.builds(Message, st.just("tool"), content, tool_call_id=st.sampled_from((None, "1", "2"))),
)
some_tools = st.sampled_from((None, TOOLS, TOOLS[:1], [Tool("f", "\N{WIND CHIME}")]))


def rendered(template: ChatTemplate, messages: list[Message], tools: Any, recent: Any) -> Any:
    continued = bool(beginning_in(messages))
    try:
        return template.render(messages, tools=tools, continue_final=continued, recent=recent)
    except ChatError as error:
        return str(error)


@settings(max_examples=150, deadline=None)
@given(
    history=st.lists(message, min_size=1, max_size=10),
    edits=st.lists(st.tuples(st.integers(0, 9), st.sampled_from("+-=."), message), max_size=5),
    tools=some_tools,
    salt=st.sampled_from(("", "a tenant")),
)
def test_histories_that_are_edited(
    model: Model,
    history: list[Message],
    edits: list[tuple[int, str, Message]],
    tools: Any,
    salt: str,
) -> None:
    template, _, recent = model
    own = RecentOf(recent, salt)
    for place, edit, other in [(0, ".", history[0]), *edits]:
        if edit == "+":
            history.insert(place, other)
        elif edit == "-" and len(history) > 1:
            del history[place % len(history)]
        elif edit == "=":
            history[place % len(history)] = other
        alone = rendered(template, history, tools, None)
        assert rendered(template, history, tools, own) == alone
        assert rendered(template, history, tools, own) == alone
        assert recent.size <= 100_000


def test_a_history_is_remembered_message_by_message(model: Model) -> None:
    template, _, _ = model
    recent = Counting(Recent(), "")
    rng = random.Random(0)
    messages = [Message("system", "You are here.")]
    for number in range(30):
        words = " ".join(f"{rng.random()}" for _ in range(20))
        messages.append(Message("user", f"{number} {words}"))
        messages.append(Message("assistant", f"It is {number}: {words}"))
    template.render(messages[:-2], recent=recent)
    recent.put_texts = 0
    template.render(messages[:-1], recent=recent)
    # What is new, and one message that is no longer the last of its role.
    assert recent.put_texts <= 3 * len("".join(messages[-1].parts()))


class Counting(RecentOf):
    """Counts the characters that come to it."""

    put_texts = 0

    def put(self, key: Any, ids: Any, texts: Any) -> None:
        texts = tuple(texts)
        self.put_texts += sum(map(len, texts))
        super().put(key, ids, texts)


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word"])
def test_tokens_that_look_at_what_is_beside_them(flag: str, tmp_path: Any) -> None:
    path = tmp_path / "tokenizer.json"
    text = tokenizer_json("llama-bpe")
    path.write_text(text.replace(f'"{flag}": false', f'"{flag}": true'))
    tokenizer = load_tokenizer(hf_source(path))
    recent = RecentOf(Recent(), "")
    segments: list[str | int] = ["a ", 1, " b", 2, "c", "d ", 1]
    for _ in range(2):
        assert tokenizer.encode_segments(segments, recent) == tokenizer.encode_segments(segments)
