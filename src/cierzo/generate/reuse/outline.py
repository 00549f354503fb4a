"""What a prompt is made of, in numbers: enough to see what changed, not what was said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from cierzo.chat.messages import Message, Part
from cierzo.chat.templates.canonical import canonical
from cierzo.chat.tools import Tool
from cierzo.generate.ask import Conversation, Prompt

Digest: TypeAlias = int  # Python's own hash: it means something in this process alone

_SYSTEM = ("system", "developer")


@dataclass(frozen=True, slots=True)
class ToolMark:
    """A tool: its name, and digests of the rest."""

    name: str
    description: Digest
    parameters: Digest
    in_any_order: Digest  # of the parameters, whatever the order of their keys


@dataclass(frozen=True, slots=True)
class Outline:
    """A prompt's tools and messages. Of a text or tokens there are neither."""

    tools: tuple[ToolMark, ...] = ()
    messages: tuple[Digest, ...] = ()
    system: Digest = 0  # of all system messages
    first: Digest | None = None  # of the first message that is none of them
    said: frozenset[Digest] = frozenset()  # of all that are none
    continues: bool = False  # the last message is the beginning of the answer

    @property
    def answer_place(self) -> int:
        """The index of the message that the answer is, once it comes back."""
        return len(self.messages) - self.continues


def outline_of(prompt: Prompt) -> Outline:
    """The outline. Slow for a long conversation."""
    if not isinstance(prompt, Conversation):
        return Outline()
    messages = canonical(prompt.turns)
    digests = tuple(map(_digest, messages))
    pairs = [(is_system(m), digest) for m, digest in zip(messages, digests, strict=True)]
    said = [digest for system, digest in pairs if not system]
    return Outline(
        tools=tuple(map(_mark, prompt.tools)),
        messages=digests,
        system=hash(tuple(digest for system, digest in pairs if system)),
        first=said[0] if said else None,
        said=frozenset(said),
        continues=bool(prompt.beginning),
    )


def pieces_of(message: Message, part: Part) -> Iterator[tuple[Part, str]]:
    """The texts of a message in order, each with its place."""
    parts = message.parts()
    for index, text in enumerate(parts):
        place = ("content",) if isinstance(message.content, str) else ("content", index, "text")
        yield (*part, *place), text
    for index, call in enumerate(message.tool_calls):
        yield (*part, "tool_calls", index, "name"), call.name
        yield (*part, "tool_calls", index, "arguments"), call.arguments


def is_system(message: Message) -> bool:
    """Whether it is the system's."""
    return message.role in _SYSTEM


def _digest(message: Message) -> Digest:
    """Of what a message says. Ids of calls are not looked at: few templates write them."""
    role = "system" if is_system(message) else message.role
    calls = tuple((call.name, call.arguments) for call in message.tool_calls)
    return hash((role, message.parts(), message.name, calls))


def _mark(tool: Tool) -> ToolMark:
    parameters = tool.parameters
    return ToolMark(
        tool.name,
        hash(tool.description),
        hash(json.dumps(parameters)),
        hash(json.dumps(parameters, sort_keys=True)),
    )
