"""What a conversation is made of, and the orders of roles that are put right for every template.

The text of a message is never trusted: only roles are words of our own.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

ROLES = ("system", "developer", "user", "assistant", "tool")
_ID_LETTERS = string.ascii_letters + string.digits
_ID_LENGTH = 9  # Mistral's tool call ids
_LETTER_OF_BYTE = bytes(ord(_ID_LETTERS[byte % len(_ID_LETTERS)]) for byte in range(256))
_ID = re.compile(rf"[{_ID_LETTERS}]{{{_ID_LENGTH}}}")


# Which part of a conversation: ("messages", 3), ("tools", 2, "parameters", "properties", "a"),
# ("tool_choice",), ("schema", "pattern") for the schema of the content, or ("form",) for what tools
# and schema together make of an answer.
Part: TypeAlias = tuple[str | int, ...]


class ChatError(ValueError):
    """A conversation that cannot be put to the model: one line on what is wrong with which part."""

    def __init__(self, problem: str, part: Part = ("messages",)) -> None:
        super().__init__(problem)
        self.part = part


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

    Raises ChatError for a role that is none of `ROLES`.
    """
    for index, message in enumerate(messages):
        if message.role not in ROLES:
            roles = ", ".join(ROLES)
            problem = f"{message.role[:40]!r} must be one of {roles}"
            raise ChatError(problem, ("messages", index, "role"))
    return [replace(m, role="system") if m.role == "developer" else m for m in messages]


def beginning_in(messages: Sequence[Message]) -> str:
    """The text of the final message, where an answer can begin with it; otherwise empty.

    Only the assistant's can be gone on with, and a message that calls is over: results follow it.
    """
    final = messages[-1] if messages else None
    if final is None or final.role != "assistant" or final.tool_calls:
        return ""
    return "".join(final.parts())


def pair_tool_results(messages: Sequence[Message]) -> list[Message]:
    """The messages with ids that tell every call of a turn from the others, in Mistral's form.

    Clients send ids of any form, the same ones turn after turn, or none. A result belongs to the
    first call with its id that has no result yet; a result without id to the first such call.
    """
    paired: list[Message] = []
    for message, ids in zip(messages, paired_ids(messages), strict=True):
        if message.role == "tool":
            result = Message("tool", message.content, message.name, (), ids[0])
            paired.append(result)
        elif ids:
            calls = zip(message.tool_calls, ids, strict=True)
            called = tuple(ToolCall(call.name, call.arguments, id_) for call, id_ in calls)
            paired.append(Message("assistant", message.content, message.name, called))
        else:
            paired.append(message)
    return paired


def paired_ids(messages: Sequence[Message]) -> Iterator[tuple[str, ...]]:
    """For each message the ids of its calls, or that of its result, as they are after pairing."""
    turn = _Turn()
    previous = ""
    for message in messages:
        if message.role == "assistant":
            if previous != "assistant":
                turn = _Turn()
            yield tuple(turn.called(call.id) for call in message.tool_calls)
        elif message.role == "tool":
            yield (turn.answered(message.tool_call_id),)
        else:
            yield ()
        previous = message.role


class _Turn:
    """The calls of one turn that wait for their results, each found at once whatever its id."""

    def __init__(self) -> None:
        self._waiting: dict[str, str | None] = {}  # ids of calls without result: ours, sent
        self._sent: dict[str | None, deque[str]] = {}  # the same the other way round
        self._used: set[str] = set()
        self._attempts: dict[str | None, int] = {}

    def called(self, sent: str | None) -> str:
        """The new id of a call."""
        new_id = self._unique(sent)
        self._waiting[new_id] = sent
        self._sent.setdefault(sent, deque()).append(new_id)
        return new_id

    def answered(self, sent: str | None) -> str:
        """The id of a result: that of its call, or one of its own."""
        if sent and not self._sent.get(sent):
            return self._unique(sent)
        if not self._waiting:
            return self._unique(sent)
        new_id = self._sent[sent][0] if sent else next(iter(self._waiting))
        self._sent[self._waiting.pop(new_id)].popleft()
        return new_id

    def _unique(self, sent: str | None) -> str:
        """`sent` if it has Mistral's form and is free, else nine letters that follow from it."""
        new_id = sent if sent is not None and _ID.fullmatch(sent) else None
        while new_id is None or new_id in self._used:
            attempt = self._attempts.get(sent, 0)
            self._attempts[sent] = attempt + 1
            source = f"{attempt}:{sent or ''}".encode("utf-8", "surrogatepass")
            new_id = nine_letters(source)
        self._used.add(new_id)
        return new_id


def merge_turns(messages: Sequence[Message], separator: str = "\n\n") -> list[Message]:
    """One system message in front, then no role twice in a row: what strict templates ask for.

    Tool results stay apart, and an assistant that called tools is not merged with the next.
    """
    system = [text for m in messages if m.role == "system" for text in m.parts()]
    merged = [Message("system", separator.join(system))] if system else []
    for run in _same_speaker(messages):
        texts = [separator.join(message.parts()) for message in run]
        if len(run) > 1:
            texts = [text for text in texts if text]
        merged.append(replace(run[-1], content=separator.join(texts)))
    return merged


def _same_speaker(messages: Sequence[Message]) -> list[list[Message]]:
    """Runs of messages that are one turn."""
    runs: list[list[Message]] = []
    for message in messages:
        if message.role == "system" or (message.role == "assistant" and message.is_empty()):
            continue
        last = runs[-1][-1] if runs else None
        if last and last.role == message.role != "tool" and not last.tool_calls:
            runs[-1].append(message)
        else:
            runs.append([message])
    return runs


def without_system(merged: Sequence[Message], separator: str = "\n\n") -> list[Message]:
    """Merged turns with what the system says in front of what the user says first."""
    if not merged or merged[0].role != "system":
        return list(merged)
    system, *rest = merged
    texts = list(system.parts())
    if rest and rest[0].role == "user":
        texts += rest.pop(0).parts()
    return [Message("user", separator.join(text for text in texts if text)), *rest]


def nine_letters(source: bytes) -> str:
    """An id of a call in Mistral's form, nine letters or digits, that follows from `source`."""
    digest = hashlib.blake2b(source, digest_size=_ID_LENGTH).digest()
    return digest.translate(_LETTER_OF_BYTE).decode("ascii")
