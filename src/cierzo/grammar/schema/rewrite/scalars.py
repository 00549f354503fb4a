"""Values without parts: constants, numbers, strings."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from cierzo.grammar import formats
from cierzo.grammar.pattern import PatternError, counts, in_rust, is_clear, parse
from cierzo.grammar.schema.constants import SAFE
from cierzo.grammar.schema.errors import SchemaError, SchemaTooLarge
from cierzo.grammar.schema.intervals import MOST_DIGITS, interval_of
from cierzo.grammar.schema.masks import Mask, identity, same, type_of
from cierzo.grammar.schema.references import Place
from cierzo.grammar.schema.rewrite.rewriter import Rewriter
from cierzo.grammar.values import exactly

MOST_PATTERN_COST = 3_000  # of all patterns in a schema
MOST_STEP, LONGEST_STEP = 2**31, 12  # the largest multipleOf in a mask, and its digits
MOST_MULTIPLES = 100  # between bounds, that are written one by one
MOST_COMPOUND = 4_000  # parts of constants that are objects or arrays
LONGEST_COUNTED = 32
LONGEST = 20_000  # more than that many characters are not counted by the mask

_TYPES = ["null", "boolean", "number", "string", "array", "object"]
_ANNOTATIONS = {
    "title", "description", "default", "examples", "$comment", "type", "enum", "const",
    "$schema", "$id", "id", "$defs", "definitions", "readOnly", "writeOnly", "deprecated",
}  # fmt: skip


def types_of(words: dict[str, Any]) -> list[str]:
    if "type" not in words:
        return _TYPES
    named = words["type"] if isinstance(words["type"], list) else [words["type"]]
    types = list(dict.fromkeys(named))
    return [name for name in types if name != "integer" or "number" not in types]


def values(rewriter: Rewriter, place: Place, words: dict[str, Any]) -> Mask:
    """The constants that are allowed: those that fit the rest of the schema too."""
    listed = words["enum"] if "enum" in words else [words["const"]]
    found = list({identity(value): value for value in reversed(listed)}.values())[::-1]
    if "const" in words and "enum" in words:
        found = [value for value in found if same(value, words["const"])]
    if "type" in words:
        types = types_of(words)
        found = [value for value in found if _has_type(value, types, rewriter.draft)]
    if set(words) - _ANNOTATIONS:
        rest = {key: value for key, value in place.node.items() if key != "enum"}
        found = [value for value in found if rewriter.valid(rest, value)]
    if sum(map(size_of, found)) > MOST_COMPOUND:
        raise SchemaTooLarge("has too many objects and arrays", (*place.path, "enum"))
    return {"enum": found} if found else False


def _has_type(value: Any, types: list[str], draft: int) -> bool:
    whole = isinstance(value, int) or (
        isinstance(value, float) and value.is_integer() and draft > 4
    )
    return type_of(value) in types or ("integer" in types and whole and not isinstance(value, bool))


def size_of(value: Any) -> int:
    """How many parts a constant has; plain values count for nothing."""
    if not isinstance(value, list | dict):
        return 0
    parts = value if isinstance(value, list) else value.values()
    return 1 + len(value) + sum(map(size_of, parts))


def numbers(rewriter: Rewriter, words: dict[str, Any], out: dict[str, Any]) -> None:
    bounds: dict[str, int | float] = {}
    for key in ("minimum", "maximum"):
        exclusive = f"exclusive{key.title()}"
        value, beyond = words.get(key), words.get(exclusive)
        if beyond is True:  # draft 4
            value, beyond = None, value
        for name, number in ((key, value), (exclusive, beyond)):
            if number is None or number is False:
                continue
            if abs(number) >= 10**MOST_DIGITS:
                rewriter.exact = False
                continue
            whole = isinstance(number, float) and number.is_integer() and abs(number) <= SAFE
            bounds[name] = int(number) if whole else number
    if out.get("type") == "integer":
        bounds = interval_of(bounds).of_whole().keywords()
    out.update(bounds)
    if "multipleOf" in words:
        _steps(rewriter, words["multipleOf"], out)


def _steps(rewriter: Rewriter, step: int | float, out: dict[str, Any]) -> None:
    """Adds what a number is a multiple of, where llguidance can count in it."""
    exact = exactly(step)
    if out.get("type") == "integer":
        exact = Fraction(exact.numerator)  # of the multiples, those that are whole
        step = exact.numerator
    if out.get("type") in ("integer", "number") and (found := _few_multiples(exact, out)):
        out.clear()  # llguidance looks for them with floats, and may find none
        out["enum"] = found
        return
    if exact.denominator > 1 or out.get("type") != "integer":
        rewriter.exact = False  # a number with more digits than a float has is another one
    if step > MOST_STEP or len(repr(step)) > LONGEST_STEP or "e" in repr(step):
        rewriter.exact = False
    else:
        out["multipleOf"] = int(step) if exact.denominator == 1 else step


def _few_multiples(step: Fraction, mask: dict[str, Any]) -> list[int | float]:
    """The multiples within a mask's bounds; none where they are many."""
    interval = interval_of(mask)
    if interval.low is None or interval.high is None:
        return []
    first = math.ceil(interval.low.value() / step)
    last = math.floor(interval.high.value() / step)
    if last - first > MOST_MULTIPLES:
        return []
    found = [step * count for count in range(first, last + 1) if interval.has(step * count)]
    return [int(one) if one.denominator == 1 else float(one) for one in found]


def strings(
    rewriter: Rewriter, place: Place, words: dict[str, Any], out: dict[str, Any]
) -> list[Mask]:
    path = (*place.path, "pattern")
    found = pattern(rewriter, words["pattern"], path) if "pattern" in words else []
    counted = bool(found) and counts(parse(words["pattern"]))
    for key in ("minLength", "maxLength"):
        if key in words:
            # To count words and characters at once is more than llguidance can.
            if words[key] > LONGEST or (counted and words[key] > LONGEST_COUNTED):
                rewriter.exact = False
            else:
                out[key] = int(words[key])
    name = str(words.get("format", ""))
    if name in formats.PATTERNS:
        found += pattern(rewriter, formats.PATTERNS[name], ())
    # llguidance looks whether they leave anything, which takes longest where several must hold.
    rewriter.pattern_cost += sum(1 + len(text) // 200 for text in found) * (
        1 if len(out) < 2 else 4
    )
    if rewriter.pattern_cost > MOST_PATTERN_COST:
        rewriter.exact = False
        return []
    elif name in formats.CHECKED:
        rewriter.exact = False
    if found:
        out["pattern"] = found[0]
    return [{"pattern": text} for text in found[1:]]


def pattern(rewriter: Rewriter, text: str, path: tuple[str | int, ...]) -> list[str]:
    try:
        result = in_rust(text)
    except PatternError as error:
        raise SchemaError(f"{text[:60]!r} cannot be used: {error}", path) from None
    negative = "(?!" in text or "(?<!" in text
    if not result.exact or (negative and not is_clear(text)):
        rewriter.exact = False
    return list(result.patterns)
