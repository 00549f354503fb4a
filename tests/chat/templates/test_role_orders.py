"""Every order of roles that agents send is written, with nothing of it lost, by every template."""

from __future__ import annotations

import re
from array import array
from itertools import count

import pytest

from cierzo.chat.messages import Message, ToolCall, beginning_in
from cierzo.chat.templates.template import ChatTemplate
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from tests.chat.calls.test_text_calls import NO_SYSTEM, QWEN
from tests.chat.templates.jinja_examples import CHATML, STRICT
from tests.chat.templates.loaded import loaded
from tests.chat.templates.test_mistral_template import VERSIONS
from tests.chat.written_answers import TOOLS

TEMPLATES = {"chatml": CHATML, "strict": STRICT, "no system": NO_SYSTEM, "qwen": QWEN}
ORDERS = (
    "system user assistant user",
    "developer user",
    "user",
    "user user",
    "user user user assistant user user",
    "system system user",
    "user system",
    "user assistant system user",
    "user call tool",
    "user call tool user",
    "user call tool user assistant",
    "user call tool system",
    "user call tool developer user",
    "user call tool call tool assistant user",
    "user call2 tool tool call tool",
    "user call2 tool user tool",
    "user call user",
    "user call",
    "user call2 tool",
    "user assistant call tool",
    "user assistant assistant user",
    "user words+call tool",
    "user assistant",
    "system user assistant",
)
IDS = ("call_1", "", None, "abcDEF123", "toolu_01A09q90qw90lq917835lq9", "🙂", "call_1")
Model = tuple[ChatTemplate, Tokenizer, str]


@pytest.fixture(scope="module", params=[*VERSIONS, *TEMPLATES])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    name: str = request.param
    template, tokenizer = loaded(name, TEMPLATES, tmp_path_factory.mktemp("model"))
    return template, tokenizer, name


def conversation(order: str, ids: tuple[str | None, ...] = IDS) -> list[Message]:
    """Messages whose texts tell each from the others; calls and results have `ids` in turn."""
    number, turn = count(1), count()
    messages: list[Message] = []
    waiting: list[str | None] = []
    for role in order.split():
        text = f"text{next(number)}."
        if "call" in role:
            calls = 2 if role.endswith("2") else 1
            waiting = [ids[next(turn) % len(ids)] for _ in range(calls)]
            content = text if role.startswith("words") else None
            made = tuple(ToolCall(f"name{next(number)}", "{}", i) for i in waiting)
            messages.append(Message("assistant", content, tool_calls=made))
        elif role == "tool":
            sent = waiting.pop(0) if waiting else "lost"
            messages.append(Message("tool", text, tool_call_id=sent))
        else:
            messages.append(Message(role, text))
    return messages


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("with_tools", [False, True])
def test_is_written_whole(model: Model, order: str, with_tools: bool) -> None:
    template, tokenizer, name = model
    messages = conversation(order)
    ids = template.render(
        messages,
        tools=TOOLS if with_tools else [],
        continue_final=bool(beginning_in(messages)),
    )
    text = tokenizer.decode(ids, skip_control=False)
    for message in messages:
        for part in message.parts():
            # v3 has no place for words beside calls.
            assert part in text or (name == "v3" and message.role == "assistant")
        for call in message.tool_calls:
            assert call.name in text
    assert ("read_file" in text) == with_tools


@pytest.mark.parametrize("order", ORDERS)
def test_no_tools_are_an_empty_list_of_them(model: Model, order: str) -> None:
    template, _, _ = model
    messages = conversation(order)
    assert template.render(messages, tools=[]) == template.render(messages)


@pytest.mark.parametrize("order", [o for o in ORDERS if "call" in o])
def test_the_form_of_ids_changes_no_order(model: Model, order: str) -> None:
    """Where ids are written they are those of Mistral's form, and pair as those that were sent."""
    template, tokenizer, _ = model
    kept = conversation(order, ("abcDEF123", "abcDEF124", "abcDEF125"))
    other = conversation(order, ("call_abc", "call_abd", "call_abe"))
    texts = [tokenizer.decode(template.render(m), skip_control=False) for m in (kept, other)]
    assert _without_ids(texts[0], kept) == _without_ids(texts[1], other)


def _without_ids(text: str, messages: list[Message]) -> str:
    text = re.sub(r"\[CALL_ID\][^\[]*", "[CALL_ID]", text)
    text = re.sub(r"\[TOOL_RESULTS\][^\[{]{9}\[TOOL_CONTENT\]", "[TOOL_RESULTS]", text)
    return re.sub(r'"(call_id|id)": "[^"]*"', "", text)


def test_a_growing_conversation_keeps_its_beginning(model: Model) -> None:
    template, _, _ = model
    if template.tool_format.writes_ids:
        pytest.skip("before v13, tools are written at the last message of the user")
    messages = conversation("system user call2 tool tool words+call tool user assistant user call")
    before = array("i")
    for end, message in enumerate(messages):
        if message.role == "assistant":
            prompt = template.render(messages[:end], tools=TOOLS)
            assert prompt[: len(before)] == before
            before = prompt
    assert len(before) > 100
