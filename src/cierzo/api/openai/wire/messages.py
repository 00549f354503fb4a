"""The messages of a conversation, as clients send them.

A history may have passed through other models and frameworks, which leave their marks on it. Keys
that are not named here are notes of somebody else's, and are passed over.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import UNSET, Meta

from cierzo.api.openai.wire.unread import Unread
from cierzo.chat import messages as chat

Role: TypeAlias = Annotated[str, Meta(extra_json_schema={"enum": [*chat.ROLES, "function"]})]
_DESCRIBED = {
    "anyOf": [
        {"type": "string"},
        {"type": "null"},
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
                "required": ["type", "text"],
            },
        },
    ]
}

Content: TypeAlias = Annotated[Unread, Meta(extra_json_schema=_DESCRIBED)]


class Part(msgspec.Struct, frozen=True, gc=False):
    """A piece of a message. Other keys than these say nothing to a model."""

    type: str | None = None
    text: Unread = UNSET
    refusal: Unread = UNSET
    content: Unread = UNSET  # of a result, as Anthropic's API has it
    source: Unread = UNSET  # of an image or a document there
    id: Unread = UNSET  # of a call there, and what is called with what
    name: str | None = None
    input: Unread = UNSET

    def __post_init__(self) -> None:
        if self.type is None and self.text is UNSET:
            raise ValueError("Expected a part with a type")

    @property
    def kind(self) -> str:
        """Its type; text where none is said."""
        return (self.type or "text").lower()


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
    cache_control: Unread = UNSET  # a hint, as on a part
    tool_calls: list[ToolCall] | NoCalls | None = None
    function_call: FunctionCall | None = None  # one call, in OpenAI's older form
    tool_call_id: Unread = UNSET
    refusal: Unread = UNSET
    images: Unread = UNSET
    audio: Unread = UNSET
    videos: Unread = UNSET
    files: Unread = UNSET
    attachments: Unread = UNSET
