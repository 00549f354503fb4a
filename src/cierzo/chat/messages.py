"""What a conversation is made of, and the orders of roles that are put right for every template.

The text of a message is never trusted: only roles are words of our own.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace

ROLES = ("system", "developer", "user", "assistant", "tool")
_ID_LETTERS = string.ascii_letters + string.digits
_ID_LENGTH = 9  # Mistral's tool call ids


class ChatError(ValueError):
    """A conversation that cannot be put to the model. Its text is one line for who sent it."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the assistant made. `arguments` is JSON text, as it goes over the wire."""

    name: str
    arguments: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `content` is a text or its parts, which each template joins in its own way."""

    role: str
    content: str | tuple[str, ...] | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    def parts(self) -> tuple[str, ...]:
        """The texts of the message; none when it has no content."""
        if self.content is None:
            return ()
        return (self.content,) if isinstance(self.content, str) else self.content

    def is_empty(self) -> bool:
        """Whether the message says and calls nothing."""
        return not self.tool_calls and not any(self.parts())


def check_roles(messages: Sequence[Message]) -> list[Message]:
    """The messages with `developer`, OpenAI's newer word for it, as `system`.

    Raises ChatError for no messages, or a role that is none of `ROLES`.
    """
    if not messages:
        raise ChatError("messages must not be empty")
    for index, message in enumerate(messages):
        if message.role not in ROLES:
            raise ChatError(
                f"messages[{index}].role is {message.role[:40]!r}; it must be one of "
                + ", ".join(ROLES)
            )
    return [replace(m, role="system") if m.role == "developer" else m for m in messages]


def ends_open(messages: Sequence[Message], continue_last: bool) -> bool:
    """Whether the last message is the beginning of the answer.

    An empty beginning is none, and a message that calls is over: results follow it.
    """
    last = messages[-1]
    return continue_last and last.role == "assistant" and not last.tool_calls and any(last.parts())


def pair_tool_results(messages: Sequence[Message]) -> list[Message]:
    """The messages with ids that tell every call of a turn from the others, in Mistral's form.

    Clients send ids of any form, the same ones turn after turn, or none. A result belongs to the
    first call with its id that has no result yet; a result without id to the first such call.
    """
    paired: list[Message] = []
    waiting: list[tuple[str | None, str]] = []  # ids of calls without result: sent, ours
    used: set[str] = set()
    previous = ""
    for message in messages:
        if message.role == "assistant":
            if previous != "assistant":
                waiting, used = [], set()
            calls = []
            for call in message.tool_calls:
                new_id = _unique_id(call.id, used)
                used.add(new_id)
                waiting.append((call.id, new_id))
                calls.append(replace(call, id=new_id))
            paired.append(replace(message, tool_calls=tuple(calls)))
        elif message.role == "tool":
            sent = message.tool_call_id
            match = next((w for w in waiting if not sent or w[0] == sent), None)
            if match is not None:
                waiting.remove(match)
            new_id = match[1] if match else _unique_id(sent, used)
            used.add(new_id)
            paired.append(replace(message, tool_call_id=new_id))
        else:
            paired.append(message)
        previous = message.role
    return paired


def merge_turns(messages: Sequence[Message], separator: str = "\n\n") -> list[Message]:
    """One system message in front, then no role twice in a row: what strict templates ask for.

    Tool results stay apart, and an assistant that called tools is not merged with the next.
    """
    system = [text for m in messages if m.role == "system" for text in m.parts()]
    merged = [Message("system", separator.join(system))] if system else []
    for message in messages:
        if message.role == "system" or (message.role == "assistant" and message.is_empty()):
            continue
        text = separator.join(message.parts())
        last = merged[-1] if merged else None
        if last and last.role == message.role != "tool" and not last.tool_calls:
            texts = [t for t in (*last.parts(), text) if t]
            merged[-1] = replace(
                message, content=separator.join(texts), tool_calls=message.tool_calls
            )
        else:
            merged.append(replace(message, content=text))
    return merged


def without_system(merged: Sequence[Message], separator: str = "\n\n") -> list[Message]:
    """Merged turns with what the system says in front of what the user says first."""
    if not merged or merged[0].role != "system":
        return list(merged)
    system, *rest = merged
    texts = list(system.parts())
    if rest and rest[0].role == "user":
        texts += rest.pop(0).parts()
    return [Message("user", separator.join(text for text in texts if text)), *rest]


def _unique_id(sent: str | None, used: set[str]) -> str:
    """`sent` if it has Mistral's form and is free, else nine letters that follow from it."""
    fits = sent is not None and len(sent) == _ID_LENGTH and set(sent) <= set(_ID_LETTERS)
    if sent is not None and fits and sent not in used:
        return sent
    attempt = 0
    while True:
        seed = f"{attempt}:{sent or ''}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(seed, digest_size=_ID_LENGTH).digest()
        candidate = "".join(_ID_LETTERS[byte % len(_ID_LETTERS)] for byte in digest)
        if candidate not in used:
            return candidate
        attempt += 1
