"""The messages of a conversation, as clients send them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from cierzo.api.schemas.common import refuse_unless
from cierzo.chat import messages as chat


class TextPart(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="text"
):
    """A piece of a message's text."""

    text: str
    cache_control: Any = None  # caching is automatic
    prompt_cache_breakpoint: Any = None


Content: TypeAlias = str | list[TextPart]


class RefusalPart(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="refusal"
):
    """A piece of an earlier answer in which the assistant declined."""

    refusal: str

    @property
    def text(self) -> str:
        """It is text like any other."""
        return self.refusal


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="role"):
    """What every role may carry."""

    name: str | None = None
    cache_control: Any = None


class SystemMessage(_Message, frozen=True, tag="system", kw_only=True):
    """Instructions."""

    content: Content | None


class DeveloperMessage(_Message, frozen=True, tag="developer", kw_only=True):
    """Instructions, in OpenAI's newer word for them."""

    content: Content | None


class UserMessage(_Message, frozen=True, tag="user", kw_only=True):
    """What the user said."""

    content: Content | None


class FunctionCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which function to call; `arguments` is JSON text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that the assistant made earlier."""

    function: FunctionCall
    id: str | None = None
    type: Literal["function"] | None = None
    index: int | None = None
    provider_specific_fields: Any = None  # LiteLLM's own, which come back with its answers


class AssistantMessage(_Message, frozen=True, tag="assistant", kw_only=True):
    """What the assistant said; as the last message, the beginning of its answer.

    What other servers put into their answers may come back: reasoning, annotations and the like
    are no part of the prompt of a model that does not reason.
    """

    content: str | list[TextPart | RefusalPart] | None = None
    tool_calls: list[ToolCall] | None = None
    refusal: str | None = None
    function_call: FunctionCall | None = None  # one call, in OpenAI's older form
    audio: Any = None
    images: Any = None
    annotations: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    reasoning_details: Any = None
    thinking_blocks: Any = None
    provider_specific_fields: Any = None
    model: Any = None


class ToolMessage(_Message, frozen=True, tag="tool", kw_only=True):
    """What a tool answered."""

    content: Content | None = None
    tool_call_id: str | None = None


class FunctionMessage(_Message, frozen=True, tag="function", kw_only=True):
    """What a tool answered, in OpenAI's older form: it belongs to the call before it."""

    content: Content | None = None


ChatMessage: TypeAlias = (
    SystemMessage
    | DeveloperMessage
    | UserMessage
    | AssistantMessage
    | ToolMessage
    | FunctionMessage
)


def check_message(message: ChatMessage, param: str) -> None:
    """Raises ApiError for parts of an earlier answer that a text model cannot read."""
    if isinstance(message, AssistantMessage):
        for name in ("audio", "images"):
            value = getattr(message, name)
            refuse_unless(f"{param}.{name}", value, "this model reads text only", [], {})


def to_chat_message(message: ChatMessage) -> chat.Message:
    """The message as the rooms below know it."""
    content = message.content
    calls: tuple[chat.ToolCall, ...] = ()
    call_id = None
    role = str(message.__struct_config__.tag)
    if isinstance(message, AssistantMessage):
        calls = tuple(
            chat.ToolCall(call.function.name, call.function.arguments, call.id)
            for call in message.tool_calls or ()
        )
        if message.function_call is not None and not calls:
            calls = (chat.ToolCall(message.function_call.name, message.function_call.arguments),)
        if content is None and message.refusal:
            content = message.refusal
    elif isinstance(message, ToolMessage):
        call_id = message.tool_call_id
    elif isinstance(message, FunctionMessage):
        role = "tool"
    return chat.Message(
        role=role,
        content=tuple(part.text for part in content) if isinstance(content, list) else content,
        name=message.name,
        tool_calls=calls,
        tool_call_id=call_id,
    )
