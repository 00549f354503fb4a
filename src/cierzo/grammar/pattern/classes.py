r"""The sets of characters that have a name: \d, \w, \s, \p{...}.

Engines disagree: ECMA-262's \d is 0 to 9, Python's has the digits of all scripts. Where a set is
named it is the smaller one, where it is excluded (\D, [^\d]) the larger one; so what matches here
matches everywhere.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

from cierzo.grammar.pattern.nodes import LAST, Ranges, merged

NARROW: dict[str, Ranges] = {
    "d": ((0x30, 0x39),),
    "w": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
    "s": (
        (0x09, 0x0D),
        (0x20, 0x20),
        (0xA0, 0xA0),
        (0x1680, 0x1680),
        (0x2000, 0x200A),
        (0x2028, 0x2029),
        (0x202F, 0x202F),
        (0x205F, 0x205F),
        (0x3000, 0x3000),
    ),
}
NEWLINES: Ranges = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))
POSIX: dict[str, Ranges] = {
    "alpha": ((0x41, 0x5A), (0x61, 0x7A)),
    "digit": NARROW["d"],
    "alnum": ((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)),
    "upper": ((0x41, 0x5A),),
    "lower": ((0x61, 0x7A),),
    "space": ((0x09, 0x0D), (0x20, 0x20)),
    "xdigit": ((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)),
}


@cache
def _every_character() -> str:
    return "".join(map(chr, range(sys.maxunicode + 1)))


@cache
def wide(name: str) -> Ranges:
    """The largest set that any engine means by \\d, \\w or \\s."""
    return merged([*python(name), *NARROW[name], *([(0xFEFF, 0xFEFF)] if name == "s" else [])])


@cache
def python(name: str) -> Ranges:
    """What Python means by \\d, \\w or \\s."""
    found = re.finditer(f"\\{name}+", _every_character())
    return tuple((match.start(), match.end() - 1) for match in found)


@cache
def category(name: str) -> Ranges | None:
    """The characters of a general category (\\p{L}, \\p{Lu}); None for another property."""
    name = {"Letter": "L", "Number": "N", "Punctuation": "P", "Alphabetic": "L"}.get(name, name)
    if name in ("Any", "ASCII"):
        return ((0, LAST if name == "Any" else 0x7F),)
    if not re.fullmatch("[LMNPSZC][a-z]?", name):
        return None
    spans: list[tuple[int, int]] = []
    start: int | None = None
    for point, char in enumerate(_every_character()):
        inside = unicodedata.category(char).startswith(name)
        if inside and start is None:
            start = point
        elif not inside and start is not None:
            spans.append((start, point - 1))
            start = None
    if start is not None:
        spans.append((start, LAST))
    return tuple(spans)
