"""Constants as JSON writes them, and which of them llguidance would write otherwise, or not at all.

llguidance reads a number as a float and writes it without an exponent, and it leaves out what JSON
has no short escape for. Masks that hold such values are written by `outline`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from cierzo.grammar.pattern import ODD

SAFE = 2**53  # whole numbers up to here are the same to everyone
SAFE_DIGITS = 15  # that many are read as the same float by everyone
_ODD_CHARACTER = re.compile("[" + "".join(f"{chr(low)}-{chr(high)}" for low, high in ODD) + "]")


def spelled(value: Any) -> str:
    """A value as json.dumps writes it, which is how the history has it."""
    return json.dumps(value, ensure_ascii=False)


def odd_text(text: str) -> bool:
    """Whether there is a character in it that llguidance has no way to write in a string."""
    return _ODD_CHARACTER.search(text) is not None


def odd_number(number: float) -> bool:
    """Whether llguidance would round it, or write it in another way than JSON does."""
    if isinstance(number, int):
        return abs(number) > SAFE
    text = repr(number)
    return text == "-0.0" or "e" in text or sum(map(str.isdigit, text)) > SAFE_DIGITS


def odd(value: Any) -> bool:
    """Whether a constant has something in it that llguidance cannot write as JSON does.

    Names are no matter: those it writes as they are.
    """
    return any(map(_odd_plain, plain_values(value)))


def plain_values(value: Any) -> Iterator[Any]:
    """The values without parts in a constant."""
    stack = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, list):
            stack.extend(part)
        elif isinstance(part, dict):
            stack.extend(part.values())
        else:
            yield part


def _odd_plain(value: Any) -> bool:
    if isinstance(value, str):
        return odd_text(value)
    return isinstance(value, int | float) and not isinstance(value, bool) and odd_number(value)
