"""A real agent's recorded session: each beginning is a prompt, and goes on from the one before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cierzo.chat.messages import Message, ToolCall
from cierzo.chat.templates.load import load_chat_template
from cierzo.chat.templates.template import ChatTemplate
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tools import Tool
from tests.chat.templates.jinja_examples import CHATML, STRICT
from tests.chat.templates.jinja_examples import TOOLS as TAGGED
from tests.chat.templates.test_mistral_template import VERSIONS, tekken_of
from tests.chat.vocabularies import gguf_source, tekken_source
from tests.chat.written_answers import ARGUMENTS, CONTENTS

RECORDED = Path(__file__).parent.parent / "data" / "marshmallow-1867.json"
TEMPLATES = {"chatml": CHATML, "tagged": TAGGED, "strict": STRICT}


def session() -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = json.loads(RECORDED.read_text())["messages"]
    return messages


def tools() -> list[Tool]:
    """Each function that the session calls, with the arguments that it gives it."""
    known: dict[str, dict[str, Any]] = {}
    for message in session():
        for call in message.get("tool_calls", ()):
            arguments = json.loads(call["function"]["arguments"])
            known.setdefault(call["function"]["name"], {}).update({key: {} for key in arguments})
    return [Tool(n, None, {"type": "object", "properties": p}) for n, p in known.items()]


def read(message: dict[str, Any], content: str, arguments: str) -> Message:
    """A message in one of the forms in which clients send it."""
    calls = tuple(
        ToolCall(
            call["function"]["name"],
            ARGUMENTS[arguments](call["function"]["arguments"]),
            call["id"],
        )
        for call in message.get("tool_calls", ())
    )
    text = message["content"]
    return Message(
        message["role"],
        CONTENTS[content](text) if message["role"] == "assistant" else text,
        tool_calls=calls,
        tool_call_id=message.get("tool_call_id"),
    )


@pytest.fixture(scope="module", params=[*VERSIONS, *TEMPLATES])
def template(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ChatTemplate:
    if request.param in TEMPLATES:
        source = gguf_source("llama-bpe", template=TEMPLATES[request.param])
    else:
        path = tmp_path_factory.mktemp("tekken") / "tekken.json"
        path.write_text(tekken_of(request.param))
        source = tekken_source(path)
    return load_chat_template(source, load_tokenizer(source))


def test_every_beginning_of_it_is_the_beginning_of_the_next(template: ChatTemplate) -> None:
    messages = [read(m, "as it came", "as it came") for m in session()]
    before: list[int] = []
    for end in range(1, len(messages) + 1):
        prompt = list(template.render(messages[:end], tools=tools()))
        assert len(prompt) > len(before)
        # After an assistant's turn the prompt would go on with another one, which is not sent.
        if messages[end - 1].role == "assistant":
            continue
        if end > 2:  # the system message alone is followed by a user's, with the tools
            assert prompt[: len(before)] == before
        before = prompt


@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("content", CONTENTS)
def test_every_form_of_it_has_the_same_tokens(
    template: ChatTemplate, content: str, arguments: str
) -> None:
    plain = [read(m, "as it came", "as it came") for m in session()]
    other = [read(m, content, arguments) for m in session()]
    found = list(template.render(other, tools=tools()))
    assert found == list(template.render(plain, tools=tools()))


def test_it_is_written_whole(template: ChatTemplate) -> None:
    messages = [read(m, "as it came", "as it came") for m in session()]
    whole = list(template.render(messages, tools=tools()))
    for index in range(2, len(messages)):
        assert (
            list(template.render(messages[:index] + messages[index + 1 :], tools=tools())) != whole
        )
