"""JSON values as checkers handle them: they print themselves short, and are equal by number.

jsonschema puts values, instances and whole schemas alike, into its messages; what prints itself
short makes those as short. And where it compares a value with each of ten thousand others, equal
values here have one number, so that it is looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

SHOWN = 60  # characters of a text in a message


class Text(str):
    """A string."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str.__repr__(self[:SHOWN] + "..." if len(self) > SHOWN else self[:])


class Array(list[Any]):
    """A list."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"a list of {len(self)}" if self else "[]"

    def __getitem__(self, at: Any) -> Any:
        found = list.__getitem__(self, at)
        return Array(found) if isinstance(at, slice) else found


class Object(dict[str, Any]):
    """An object."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"an object of {len(self)}" if self else "{}"


def brief(value: Any) -> Any:
    """The value in these types, all parts of it."""
    if isinstance(value, str):
        return Text(value)
    if isinstance(value, list):
        return Array(map(brief, value))
    if isinstance(value, dict):
        return Object((Text(name), brief(item)) for name, item in value.items())
    return value


def exactly(number: float) -> Fraction:
    """The number that its text says: 0.1 is a tenth, not the float next to it."""
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))


class Numbering:
    """Gives equal JSON values the same number: 1 and 1.0 are equal, 1 and true are not.

    A list or object is looked at once, so it must not change. `spend` is told how much of it.
    """

    def __init__(self, spend: Callable[[int], None]) -> None:
        self._spend = spend
        self._numbers: dict[Any, int] = {}  # by what a value is made of
        # By id, with what has that id, so that nothing else can come to have it.
        self._known: dict[int, tuple[Any, int]] = {}
        self._sets: dict[int, tuple[list[Any], frozenset[int]]] = {}  # by id, too

    def number(self, value: Any) -> int:
        """The number of a value."""
        if not isinstance(value, list | dict):
            return self._numbered((isinstance(value, bool), value))
        if id(value) in self._known:
            return self._known[id(value)][1]
        self._spend(2 + 2 * len(value))
        number = self._numbered(
            tuple(map(self.number, value))
            if isinstance(value, list)
            else frozenset((name, self.number(item)) for name, item in value.items())
        )
        self._known[id(value)] = value, number
        return number

    def among(self, value: Any, others: list[Any]) -> bool:
        """Whether one of `others` is equal to the value; the second time it is looked up."""
        if id(others) not in self._sets:
            self._spend(2 * len(others))
            self._sets[id(others)] = others, frozenset(map(self.number, others))
        return self.number(value) in self._sets[id(others)][1]

    def forget(self) -> None:
        """Forgets the values, but not the lists of `others` nor what is equal to what."""
        self._known.clear()

    def _numbered(self, key: Any) -> int:
        return self._numbers.setdefault(key, len(self._numbers))
