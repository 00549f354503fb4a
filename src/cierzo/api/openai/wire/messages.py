"""The messages of a conversation, as clients send them.

A history may have passed through other models and frameworks, which leave their marks on it. The
model reads roles, texts, calls and results; other keys are notes of somebody else's, and are passed
over, unless they hold what the model would have to see.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import UNSET, Meta

from cierzo.api.errors import bad_request, unsupported
from cierzo.api.openai.wire.content import (
    Content,
    arguments_of,
    calls_in,
    is_text,
    read_content,
    text_of,
)
from cierzo.api.openai.wire.unread import Unread, is_given
from cierzo.chat import messages as chat

# Words for roles: OpenAI's older one for results, then Google's, LangChain's and Cohere's.
_ROLES = {
    **{role: role for role in chat.ROLES},
    "function": "tool",
    "model": "assistant",
    "human": "user",
    "ai": "assistant",
    "chatbot": "assistant",
}
_SPEAKERS = ("system", "developer", "user")  # whose messages are nothing without content
# Keys whose content would have to be seen.
_TO_BE_SEEN = ("images", "audio", "videos", "files", "attachments")
_NOTHING = (b"[]", b"{}", b'""', b"false")

Role: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": [*chat.ROLES, "function"]})]


class FunctionCall(msgspec.Struct, frozen=True, gc=False):
    """Which function to call; `arguments` is JSON text, or the object itself."""

    name: str | None = None
    arguments: Unread = UNSET


class ToolCall(msgspec.Struct, frozen=True, gc=False):
    """A call that the assistant made earlier: in OpenAI's form, or bare, as LangChain keeps it."""

    function: FunctionCall | None = None
    id: Unread = UNSET
    name: str | None = None
    args: Unread = UNSET
    arguments: Unread = UNSET


# An empty list, as Lua writes it.
NoCalls: TypeAlias = Annotated[dict[str, msgspec.Raw], Meta(max_length=0)]


class ChatMessage(msgspec.Struct, frozen=True, gc=False):
    """A turn. An assistant's, as the last message, is the beginning of the answer."""

    role: Role
    content: Content = UNSET
    name: Unread = UNSET
    tool_calls: list[ToolCall] | NoCalls | None = None
    function_call: FunctionCall | None = None  # one call, in OpenAI's older form
    tool_call_id: Unread = UNSET
    refusal: Unread = UNSET
    images: Unread = UNSET
    audio: Unread = UNSET
    videos: Unread = UNSET
    files: Unread = UNSET
    attachments: Unread = UNSET


def to_chat_message(message: ChatMessage, param: str) -> chat.Message:
    """The message as the rooms below know it. Raises ApiError for what is not text or a call."""
    role = _ROLES.get(message.role.lower())
    if role is None:
        known = ", ".join(chat.ROLES)
        at = f"{param}.role"
        raise bad_request(
            f"{at}: invalid value {message.role[:40]!r}; it must be one of {known}", at
        )
    for key in _TO_BE_SEEN:
        value = getattr(message, key)
        if is_given(value) and bytes(value) not in _NOTHING:
            raise unsupported(f"{param}.{key}", "this model reads text only")
    if message.content is UNSET and role in _SPEAKERS:
        raise bad_request(f"{param}.content: this field is required", f"{param}.content")
    content = read_content(message.content, f"{param}.content", of_tool=role == "tool")
    if role != "assistant":
        call_id = text_of(message.tool_call_id, f"{param}.tool_call_id") or None
        return chat.Message(role, content, _name(message), tool_call_id=call_id)
    if content is None and is_given(message.refusal):
        content = text_of(message.refusal, f"{param}.refusal") or None
    return chat.Message(role, content, _name(message), _calls(message, param))


def _name(message: ChatMessage) -> str | None:
    """Who speaks, if it is a text: nothing else is a name."""
    return (text_of(message.name, "name") or None) if is_text(message.name) else None


def _calls(message: ChatMessage, param: str) -> tuple[chat.ToolCall, ...]:
    calls = []
    listed = message.tool_calls if isinstance(message.tool_calls, list) else []
    for index, call in enumerate(listed):
        at = f"{param}.tool_calls[{index}]"
        called_id = text_of(call.id, f"{at}.id") or None
        if call.function is not None and call.function.name is not None:
            arguments = arguments_of(call.function.arguments, f"{at}.function.arguments")
            calls.append(chat.ToolCall(call.function.name, arguments, called_id))
        elif call.name is not None:
            given = call.args if call.args is not UNSET else call.arguments
            calls.append(chat.ToolCall(call.name, arguments_of(given, f"{at}.args"), called_id))
        else:
            missing = f"{at}.function" if call.function is None else f"{at}.function.name"
            raise bad_request(f"{missing}: this field is required", missing)
    older = message.function_call
    if older is not None and older.name and not calls:  # a form that was not filled in is none
        arguments = arguments_of(older.arguments, f"{param}.function_call.arguments")
        calls.append(chat.ToolCall(older.name, arguments))
    for index, part in enumerate(() if calls else calls_in(message.content)):
        arguments = arguments_of(part.input, f"{param}.content[{index}].input")
        calls.append(chat.ToolCall(part.name or "", arguments, text_of(part.id, "id") or None))
    return tuple(calls)
