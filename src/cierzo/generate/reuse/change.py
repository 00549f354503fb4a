"""How two texts differ where they part: what tells a client which of its words to hold still."""

from __future__ import annotations

import re

from cierzo.generate.reuse.diagnosis import Change

_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DAYS = "mon|tue|wed|thu|fri|sat|sun"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?"
_DATE = r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}"
_TIME = re.compile(
    rf"(?:{_DATE})(?:[T ]{_CLOCK})?|{_CLOCK}|\d{{8}}T\d{{4,6}}"
    rf"|\b(?:{_MONTHS}|{_DAYS})[a-z]*\b(?:,? \d{{1,4}})*"
    r"|\b1[5-9]\d{8}(?:\d{3}){0,3}\b",  # seconds since 1970, or thousandths and finer
    re.IGNORECASE,
)
_IDENTIFIER = re.compile(r"[\w-]{5,}")
_NUMBER = re.compile(r"[-+]?\d[\d.,]*%?")
_ENDS = re.compile(r"[\s\"'=:;,()<>\[\]{}|]")  # of words
_AROUND = 24  # characters on each side of where they part that may belong to a date
_LONGEST = 256  # characters of white space that are looked past


def change_of(shared: str, before: str, now: str) -> Change:
    """`before` and `now` are how two texts go on after `shared`."""
    if _is_space(before, now):
        return Change.SPACE
    old, new = (_word(shared, rest) for rest in (before, now))
    if all(_is_time(shared, rest) for rest in (before, now)):
        return Change.TIME
    if all(map(_NUMBER.fullmatch, (old, new))):
        return Change.NUMBER
    if all(map(_IDENTIFIER.fullmatch, (old, new))) and any(map(str.isdecimal, old + new)):
        return Change.IDENTIFIER
    return Change.TEXT


def _is_space(before: str, now: str) -> bool:
    """Whether they are the same but for the white space that they begin with."""
    if not (before[:1].isspace() or now[:1].isspace()):
        return False
    one, other = before[:_LONGEST].lstrip(), now[:_LONGEST].lstrip()
    size = min(len(one), len(other))
    return one[:size] == other[:size] and (size > 0 or one == other)


def _is_time(shared: str, rest: str) -> bool:
    """Whether a date or a time is written over the place where the texts part."""
    begin = shared[-_AROUND:]
    text = begin + rest[:_AROUND]
    return any(found.start() <= len(begin) < found.end() for found in _TIME.finditer(text))


def _word(shared: str, rest: str) -> str:
    """The word that the place is in, without what encloses it."""
    return _ENDS.split(shared[-_AROUND:])[-1] + _ENDS.split(rest[:_AROUND], maxsplit=1)[0]
