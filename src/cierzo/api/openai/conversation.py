"""A conversation in OpenAI's words, read: messages, tools, and what the answer may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from cierzo.api.errors import unsupported
from cierzo.api.openai.reading.answer_schema import answer_schema
from cierzo.api.openai.reading.messages import to_chat_message
from cierzo.api.openai.reading.tool_choice import read_choice
from cierzo.api.openai.reading.tools import read_tools
from cierzo.api.openai.wire.chat import ChatRequest, check_chat_request
from cierzo.api.openai.wire.common import check_length
from cierzo.api.openai.wire.decode import decode_request
from cierzo.api.openai.wire.foreign import RequestDecoder
from cierzo.chat.messages import Message, beginning_in
from cierzo.generate.ask import Conversation
from cierzo.grammar.schema.meant import meant
from cierzo.settings import Limits


@dataclass(frozen=True)
class ReadConversation:
    """The conversation, where the request has its tools, and what could not be taken as it is."""

    conversation: Conversation
    tool_places: Sequence[str] = ()
    warnings: list[str] = field(default_factory=list)


_DECODER = RequestDecoder(ChatRequest)
_STAND_IN = {"role": "user", "content": ""}


def conversation_in(
    messages: Sequence[Message | Mapping[str, Any]], fields: Mapping[str, Any], limits: Limits
) -> ReadConversation:
    """A conversation in Python's objects, read as one in a body is. Raises ApiError."""
    sent = [_STAND_IN if isinstance(message, Message) else message for message in messages]
    body = msgspec.json.encode({"messages": sent, **fields})
    request = decode_request(body, _DECODER, limits)
    check_chat_request(request, limits)
    read = read_conversation(request, limits)
    own = [
        given if isinstance(given, Message) else message
        for given, message in zip(messages, read.conversation.messages, strict=True)
    ]
    return replace(read, conversation=replace(read.conversation, messages=own))


def read_conversation(request: ChatRequest, limits: Limits) -> ReadConversation:
    """What the request says of its prompt and of the form of its answer. Raises ApiError."""
    schema = answer_schema(request.response_format, request.structured_outputs)
    messages = [to_chat_message(m, f"messages[{at}]") for at, m in enumerate(request.messages)]
    _check_beginning(request, messages)
    read = read_tools(request.tools)
    check_length("tools", read.tools, limits.tools)  # groups of them, too
    wish = read_choice(request.tool_choice, read.tools)
    conversation = Conversation(
        messages=messages,
        tools=read.tools,
        choice=wish.choice,
        parallel=request.parallel_tool_calls is not False and not wish.one,
        schema=None if schema is None else meant(schema),
        continue_final=request.continue_final_message is not False,
    )
    return ReadConversation(conversation, read.places, read.warnings)


def _check_beginning(request: ChatRequest, messages: Sequence[Message]) -> None:
    """Raises ApiError where the last message is to be gone on with and cannot be."""
    for name, value in (
        ("continue_final_message", request.continue_final_message is True),
        ("add_generation_prompt", request.add_generation_prompt is False),
    ):
        if value and not beginning_in(messages):
            why = "only a last message of the assistant's can be gone on with, and here it is none"
            raise unsupported(name, why)
