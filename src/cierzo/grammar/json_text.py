"""JSON text read so that every part of the value is known by its place in the text."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

MOST_NESTED = 200
MOST_DIGITS = 4300  # in a number: as many as Python reads

_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None}


class TextError(ValueError):
    """The text is not JSON, or not JSON that all readers agree about. `start`, `end`: where."""

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.start = start
        self.end = end


@dataclass
class Part:
    """A value in the text, from `start` to `end`; its members know where their names stand."""

    value: Any
    start: int
    end: int = 0
    members: dict[str, Part] = field(default_factory=dict)
    items: list[Part] = field(default_factory=list)
    name_start: int = 0
    name_end: int = 0

    def child(self, key: str | int) -> Part | None:
        if isinstance(key, str):
            return self.members.get(key)
        return self.items[key] if 0 <= key < len(self.items) else None


def read(text: str) -> Part:
    """Reads one JSON value. Raises TextError for other text, and where readers would differ."""
    part, at = _value(text, _skip(text, 0), 0)
    at = _skip(text, at)
    if at != len(text):
        raise TextError("something follows the value", at, len(text))
    return part


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _value(text: str, at: int, depth: int) -> tuple[Part, int]:
    if depth > MOST_NESTED:
        raise TextError("the value is nested too deep", at, at + 1)
    char = text[at : at + 1]
    if char == "{":
        return _object(text, at, depth)
    if char == "[":
        return _array(text, at, depth)
    if char == '"':
        value, end = _string(text, at)
        return Part(value, at, end), end
    number = _NUMBER.match(text, at)
    if number:
        return _number(number, at), number.end()
    for word, constant in _WORDS.items():
        if text.startswith(word, at):
            return Part(constant, at, at + len(word)), at + len(word)
    raise TextError("the value is not JSON", at, min(at + 1, len(text)))


def _number(match: re.Match[str], at: int) -> Part:
    text = match[0]
    value: int | float
    if len(text) > MOST_DIGITS:
        raise TextError("a number has too many digits", at, at + MOST_DIGITS + 1)
    if match[1] is None and match[2] is None:
        value = int(text)
    else:
        value = float(text)
        if not math.isfinite(value):
            raise TextError("a number is too large", at, _overflow(text, at))
    return Part(value, at, match.end())


def _overflow(text: str, at: int) -> int:
    """Where a number has become too large: what is mended must come before."""
    exponent = text.lower().find("e") + 1
    for end in range(exponent + 1, len(text)):
        if text[end - 1].isdigit() and not math.isfinite(float(text[:end])):
            return at + end
    return at + len(text)


def _string(text: str, at: int) -> tuple[str, int]:
    try:
        value, end = scanstring(text, at + 1, True)
    except json.JSONDecodeError as error:
        raise TextError("a string is not JSON", at, min(error.pos + 1, len(text))) from None
    return value, end


def _object(text: str, at: int, depth: int) -> tuple[Part, int]:
    part = Part({}, at)
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        if part.members:
            at = _expect(text, at, ",")
        if text[at : at + 1] != '"':
            raise TextError("a name is missing", at, min(at + 1, len(text)))
        name, end = _string(text, at)
        if name in part.members:
            raise TextError(f"the name {name!r} stands there twice", at, end)
        child, after = _value(text, _expect(text, _skip(text, end), ":"), depth + 1)
        child.name_start, child.name_end = at, end
        part.members[name] = child
        part.value[name] = child.value
        at = _skip(text, after)
    part.end = at + 1
    return part, at + 1


def _array(text: str, at: int, depth: int) -> tuple[Part, int]:
    part = Part([], at)
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]":
        if part.items:
            at = _expect(text, at, ",")
        child, after = _value(text, at, depth + 1)
        part.items.append(child)
        part.value.append(child.value)
        at = _skip(text, after)
    part.end = at + 1
    return part, at + 1


def _expect(text: str, at: int, char: str) -> int:
    if text[at : at + 1] != char:
        raise TextError(f"{char!r} is missing", at, min(at + 1, len(text)))
    return _skip(text, at + 1)
