"""Reads calls that are written as JSON objects, `{"name": ..., "arguments": {...}}`, as they come.

The grammars of the formats allow one spelling, which is streamed. What a model without a grammar
writes otherwise is kept until the answer is over, and read as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cierzo.chat.calls.tool_format import CallDelta, CallIds, Event

_LONGEST_HEAD = 1000  # characters; what is longer is no head, and is not looked at again and again
_LETTERS = r'"((?:[^"\\]|\\.)+)'  # a string that may have been cut off
_NAME = r'\{\s*"name"\s*:\s*' + _LETTERS + r'"\s*,\s*"arguments"\s*:\s*(?=\{)'
# Whatever is between the arguments and the end of the object: v3 and v7 write an id there.
_TAIL = re.compile(r'\s*(?:,\s*"[^"\\]*"\s*:\s*"[^"\\]*"\s*)*\}')
# A call that was cut off before its arguments: in its name or behind it, or before that.
_CUT_NAME = re.compile(
    r'\{\s*"name"\s*:\s*' + _LETTERS + r'\\?(?:"\s{0,9},?\s{0,9}(?:"[a-z]{0,9}"?:?)?)?\Z'
)
_BEGUN = re.compile(r'\{?\s*(?:"[a-z]*"?\s{0,9}:?\s{0,9}"?)?')
_STRUCTURE = re.compile(r'[{}\[\]"]')
_IN_STRING = re.compile(r'["\\]')


@dataclass(frozen=True)
class Head:
    """What stands before each call, and what tells calls apart when they are read as a whole."""

    pattern: re.Pattern[str]  # up to the arguments; its group is the name
    tag: re.Pattern[str] | None  # around each call
    opening: str  # what the answer had before the first call, as text


def list_head() -> Head:
    """Items of a JSON list."""
    return Head(re.compile(r"\s*[\[,]\s*" + _NAME), None, "")


def tagged_head(opening: str, closing: str) -> Head:
    """Objects between two tags, the first of which has been read."""
    first, last = re.escape(opening), re.escape(closing)
    between = rf"\s*(?:{last}\s*{first}\s*)?"
    return Head(re.compile(between + _NAME), re.compile(f"{first}|{last}"), opening)


class JsonCalls:
    """A parser of calls, on text; `tags` are the tokens that stand for text."""

    def __init__(self, call_ids: CallIds, head: Head, tags: dict[int, str] | None = None) -> None:
        self._call_ids = call_ids
        self._head = head
        self._tags = tags or {}
        self._count = 0
        self._held = ""  # before the arguments, or after them
        self._more: list[str] = []  # behind `_held` where that is too long to be a head
        self._value: JsonEnd | None = None  # within the arguments
        self._in_tail = False

    def token(self, token_id: int) -> Iterator[Event]:
        return self.text(self._tags.get(token_id, ""))

    def text(self, text: str) -> Iterator[Event]:
        while text:
            if self._value is not None:
                end = self._value.find(text)
                yield CallDelta(self._count - 1, arguments=text[:end])
                if end is None:
                    return
                text = text[end:]
                self._value, self._in_tail = None, True
                continue
            if len(self._held) > _LONGEST_HEAD:
                self._more.append(text)
                return
            self._held += text
            text = ""
            if self._in_tail and (found := _TAIL.match(self._held)):
                self._held = self._held[found.end() :]
                self._in_tail = False
            if not self._in_tail and (found := self._head.pattern.match(self._held)):
                text, self._held = self._held[found.end() :], ""
                yield self._begin(_unescaped(found[1]))
                self._value = JsonEnd()

    def end(self) -> Iterator[Event]:
        """What is left: the end of a call, a call that was cut off, or none that is known."""
        held, self._held = self._held + "".join(self._more), ""
        self._more = []
        if self._value is not None or self._in_tail:
            return
        first = self._count == 0
        for index, text in enumerate(self._apart(held)):
            found = _as_calls(text)
            begun = text.strip()
            if found:
                for name, arguments in found:
                    yield self._begin(name, arguments)
            elif cut := _CUT_NAME.match(begun):
                yield self._begin(_unescaped(cut[1]))
            elif not _BEGUN.fullmatch(begun[:_LONGEST_HEAD]):
                yield (self._head.opening if first and index == 0 else "") + text

    def _apart(self, text: str) -> list[str]:
        """The calls, or what else there is, without tags and brackets around them."""
        whole = text.strip()
        if _as_calls(whole):
            return [whole]
        tag = self._head.tag
        parts = tag.split(text) if tag else [whole.lstrip("[,] ")]
        return [part for part in parts if part.strip("[], \n")]

    def _begin(self, name: str, arguments: str = "") -> CallDelta:
        self._count += 1
        return CallDelta(self._count - 1, self._call_ids(self._count - 1), name, arguments)


class JsonEnd:
    """Finds the end of an object in text that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def find(self, text: str) -> int | None:
        """The index behind its last brace, or None if that is not there yet."""
        position = 0
        if self._escaped and text:
            position, self._escaped = 1, False
        while True:
            pattern = _IN_STRING if self._in_string else _STRUCTURE
            found = pattern.search(text, position)
            if found is None:
                return None
            position = found.end()
            mark = found[0]
            if mark == "\\":
                self._escaped = position == len(text)
                position += 1
            elif mark == '"':
                self._in_string = not self._in_string
            else:
                self._depth += 1 if mark in "{[" else -1
                if self._depth == 0:
                    return position


def _unescaped(letters: str) -> str:
    """The text of a JSON string without its quotes."""
    try:
        return str(json.loads(f'"{letters}"', strict=False))
    except ValueError:
        return letters


def _as_calls(text: str) -> list[tuple[str, str]]:
    """Name and arguments of the calls that a text is; none if it is something else."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return []
    calls = []
    for item in value if isinstance(value, list) else [value]:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            return []
        arguments = item.get("arguments", {})
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        calls.append((name, arguments))
    return calls
