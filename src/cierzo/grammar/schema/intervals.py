"""What bounds leave of the numbers, where llguidance would round them, or write hundreds of digits:
whole numbers of any size, and floats of any exponent, in the spelling that JSON has for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import Any

from cierzo.grammar.schema.constants import SAFE_DIGITS, odd_number, spelled
from cierzo.grammar.schema.errors import SchemaError
from cierzo.grammar.values import exactly

MOST_DIGITS = 400  # in a bound
BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")

# From the first to the last, numbers are written without an exponent.
_SMALLEST, _LARGEST = 1e-4, 10**15
_MOST_WHOLE = 10**40
_EXPONENTS = (range(-307, -4), range(16, 308))  # what floats have in full, without the above
_FRACTION = r"(?:\.[0-9]{1,14})?"  # so that no float is the one beside it, which may be a bound


@dataclass(frozen=True)
class Bound:
    number: int | float
    inclusive: bool = True

    def value(self) -> Fraction:
        return exactly(self.number)


@dataclass(frozen=True)
class Interval:
    """The numbers between two bounds; None: there is none."""

    low: Bound | None
    high: Bound | None

    def has(self, value: Fraction) -> bool:
        return not self.below(value) and not self.above(value)

    def below(self, value: Fraction) -> bool:
        """Whether it is too small."""
        low = self.low
        return low is not None and value < low.value() + (
            not low.inclusive and value == low.value()
        )

    def above(self, value: Fraction) -> bool:
        """Whether it is too large."""
        return self.mirrored().below(-value)

    def empty(self) -> bool:
        """Whether nothing is in it, or no more than one number."""
        low, high = self.low, self.high
        return low is not None and high is not None and low.value() >= high.value()

    def mirrored(self) -> Interval:
        """The same numbers with the other sign."""
        low, high = (
            None if bound is None else Bound(-bound.number, bound.inclusive)
            for bound in (self.high, self.low)
        )
        return Interval(low, high)

    def within(self, other: Interval) -> Interval:
        """The numbers that are in both."""
        lows = [bound for bound in (self.low, other.low) if bound is not None]
        highs = [bound for bound in (self.high, other.high) if bound is not None]
        return Interval(
            max(lows, key=lambda bound: (bound.value(), not bound.inclusive), default=None),
            min(highs, key=lambda bound: (bound.value(), bound.inclusive), default=None),
        )

    def of_whole(self) -> Interval:
        """The bounds of the whole numbers in it; these are compared with a float, not its text."""
        low = high = None
        if self.low is not None:
            exact = Fraction(self.low.number)
            first = math.ceil(exact)
            low = Bound(first + (first == exact and not self.low.inclusive))
        if self.high is not None:
            exact = Fraction(self.high.number)
            last = math.floor(exact)
            high = Bound(last - (last == exact and not self.high.inclusive))
        return Interval(low, high)

    def keywords(self) -> dict[str, Any]:
        """The bounds as a schema has them."""
        found: dict[str, Any] = {}
        for name, bound in (("minimum", self.low), ("maximum", self.high)):
            if bound is not None:
                found[name if bound.inclusive else f"exclusive{name.title()}"] = bound.number
        return found


def interval_of(mask: dict[str, Any]) -> Interval:
    """The bounds of a mask. Raises SchemaError for one that is too long to count with."""
    for key in BOUNDS:
        if key in mask and abs(mask[key]) >= 10**MOST_DIGITS:
            raise SchemaError(f"{key} has more than {MOST_DIGITS} digits")
    closed, opened = (
        Interval(*(Bound(mask[key], inclusive) if key in mask else None for key in keys))
        for keys, inclusive in ((BOUNDS[::2], True), (BOUNDS[1::2], False))
    )
    return closed.within(opened)


def odd_bounds(mask: dict[str, Any]) -> bool:
    """Whether llguidance would make something else of a mask's bounds."""
    return any(odd_number(mask[key]) for key in BOUNDS if key in mask)


def whole_numbers(interval: Interval) -> list[str]:
    """Expressions for the whole numbers in an interval, in Rust's syntax.

    Between a small bound and one of hundreds of digits not quite all: that many digits are written
    by nobody, and each is a part of an expression.
    """
    ends = interval.of_whole()
    first = None if ends.low is None else int(ends.low.number)
    last = None if ends.high is None else int(ends.high.number)
    found: list[str] = []
    if first is None or first < 0:
        nearest = 1 if last is None or last > -1 else -last
        found += (f"-{text}" for text in _natural(nearest, _most(nearest, first)))
    if last is None or last >= 0:
        least = max(first or 0, 0)
        found += _natural(least, _most(least, last))
    return found


def _most(least: int, most: int | None) -> int | None:
    return None if most is None else min(abs(most), 100 * max(least, _MOST_WHOLE))


def _natural(first: int, last: int | None) -> Iterator[str]:
    """Expressions for the numbers from `first`, which is 0 or more, to `last`."""
    if last is not None and first > last:
        return
    start, end = str(first), str(last)
    size = len(start)
    if last is not None and size == len(end):
        yield from _of_one_length(start, end)
        return
    yield from _of_one_length(start, "9" * size)
    if last is None:
        yield f"[1-9][0-9]{{{size},}}"
        return
    if len(end) > size + 1:
        yield f"[1-9][0-9]{{{size},{len(end) - 2}}}"
    yield from _of_one_length("1" + "0" * (len(end) - 1), end)


def _of_one_length(first: str, last: str) -> Iterator[str]:
    """Expressions for the numbers from `first` to `last`, which have as many digits."""
    yield first
    if first == last:
        return
    size = len(first)
    apart = next(at for at in range(size) if first[at] != last[at])
    for at in range(size - 1, apart, -1):
        yield from _with_digit(first[:at], int(first[at]) + 1, 9, size)
    yield from _with_digit(first[:apart], int(first[apart]) + 1, int(last[apart]) - 1, size)
    for at in range(apart + 1, size):
        yield from _with_digit(last[:at], 0, int(last[at]) - 1, size)
    yield last


def _with_digit(before: str, low: int, high: int, size: int) -> Iterator[str]:
    """A digit from `low` to `high`, with any behind it."""
    if low <= high:
        yield f"{before}[{low}-{high}][0-9]{{{size - len(before) - 1}}}"


@dataclass(frozen=True)
class Numbers:
    """Numbers as texts, as expressions in Rust's syntax, and as masks that llguidance enforces."""

    texts: list[str]
    expressions: list[str]
    masks: list[dict[str, Any]]


def all_numbers(interval: Interval) -> Numbers:
    """The numbers in an interval; of the floats nearest to a bound, only the bound itself."""
    ends = [Bound(0), *(bound for bound in (interval.low, interval.high) if bound is not None)]
    found = Numbers([spelled(end.number) for end in ends if interval.has(end.value())], [], [])
    for sign, side in (("", interval), ("-", interval.mirrored())):
        positive = side.within(Interval(Bound(0, inclusive=False), None))
        if positive.empty():
            continue
        plain = positive.within(Interval(Bound(_SMALLEST), Bound(_LARGEST)))
        if not plain.empty() and not (plain := _rounded(plain)).empty():
            signed = plain.mirrored() if sign else plain
            found.masks.append({"type": "number", **signed.keywords()})
        whole = positive.within(Interval(Bound(_LARGEST), None))
        found.expressions.extend(sign + text for text in whole_numbers(whole))
        found.expressions.extend(sign + text for text in _scientific(positive))
    found.texts[:] = dict.fromkeys(found.texts)
    return found


def _rounded(positive: Interval) -> Interval:
    """An interval within one that has both ends; its bounds have no more digits than are safe."""
    low, high = (
        bound
        if bound is None or not odd_number(bound.number)
        else Bound(float(Context(SAFE_DIGITS, rounding).create_decimal(str(bound.number))))
        for bound, rounding in ((positive.low, ROUND_CEILING), (positive.high, ROUND_FLOOR))
    )
    return Interval(low, high)


def _scientific(positive: Interval) -> Iterator[str]:
    """Expressions for the numbers that have an exponent, in an interval above 0."""
    low_digit, low = _leading(positive.low, (0, _EXPONENTS[0].start - 1))
    high_digit, high = _leading(positive.high, (10, _EXPONENTS[1].stop))
    for known in _EXPONENTS:
        first, last = max(known.start, low + 1), min(known.stop, high) - 1
        if first <= last:
            yield f"[1-9]{_FRACTION}e(?:{'|'.join(_exponents(first, last))})"
    edges = [(low, low_digit + 1, 9), (high, 1, high_digit - 1)]
    if low == high:
        edges = [(low, low_digit + 1, high_digit - 1)]
    for exponent, lowest, highest in edges:
        if lowest <= highest and any(exponent in known for known in _EXPONENTS):
            yield f"[{lowest}-{highest}]{_FRACTION}e{''.join(_exponents(exponent, exponent))}"


def _exponents(first: int, last: int) -> Iterator[str]:
    """Expressions for the exponents from `first` to `last`, of one sign, in two digits at least."""
    sign, sizes = (r"\+", (first, last)) if first > 0 else ("-", (-last, -first))
    if sizes[0] < 10:
        yield f"{sign}0[{sizes[0]}-{min(sizes[1], 9)}]"
    yield from (sign + text for text in _natural(max(sizes[0], 10), sizes[1]))


def _leading(bound: Bound | None, otherwise: tuple[int, int]) -> tuple[int, int]:
    """The first digit of a bound, and its exponent."""
    if bound is None or not bound.number:
        return otherwise
    number = Decimal(str(bound.number))
    return number.as_tuple().digits[0], number.adjusted()
