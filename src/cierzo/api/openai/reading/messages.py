"""Messages of a conversation, read: the model sees roles, texts, calls and results.

What would have to be seen and is not text is refused.
"""

from __future__ import annotations

from msgspec import UNSET

from cierzo.api.errors import bad_request, unsupported
from cierzo.api.openai.reading.content import (
    arguments_of,
    calls_in,
    is_text,
    read_content,
    text_of,
)
from cierzo.api.openai.wire.messages import ChatMessage
from cierzo.api.openai.wire.unread import is_given
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


def to_chat_message(message: ChatMessage, param: str) -> chat.Message:
    """The message as the rooms below know it. Raises ApiError for what is not text or a call."""
    role = _ROLES.get(message.role.lower())
    if role is None:
        roles = ", ".join(chat.ROLES)
        at = f"{param}.role"
        raise bad_request(
            f"{at}: invalid value {message.role[:40]!r}; it must be one of {roles}", at
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
