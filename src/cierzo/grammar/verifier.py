"""The last word on a finished value: whether it is valid under the schema as it was given.

What is wrong is told with its place in the text, so that the search can go back to where it can be
mended. What cannot be verified counts as wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import ValidationError

from cierzo.grammar.json_text import Part, TextError, read
from cierzo.grammar.pattern import MOST_WORK, MatchError, Work
from cierzo.grammar.schema.dialect import draft_of
from cierzo.grammar.validation import Unverifiable, faults, validator_for
from cierzo.grammar.values import brief

MOST_ERRORS = 64
WORK_PER_BYTE = 100  # of a value: several keywords for each of its parts
_AT_THE_END = (
    "required",
    "minItems",
    "minProperties",
    "dependentRequired",
    "dependencies",
    "contains",
)
_AT_THE_NAME = ("properties", "additionalProperties", "unevaluatedProperties", "propertyNames")


@dataclass(frozen=True)
class Violation:
    """What is wrong, and where: the bytes from `start` to `end`. What follows cannot mend it.

    After a number, `end` takes in what follows, be it the end: there more digits could have come.
    """

    message: str
    start: int
    end: int


class Verifier:
    """Holds values to one schema, one after the other.

    The work is taken from `work`, which others may share; one value is not given all of it. Raises
    Unverifiable for a schema that nothing can be held to.
    """

    def __init__(self, schema: Any, work: Work | None = None) -> None:
        self._work = work or Work()
        schema = brief(schema)
        self._validator = validator_for(schema, draft_of(schema), self._work)

    def violation(self, value: bytes) -> Violation | None:
        """The first thing that is wrong with a value; None if it is valid."""
        try:
            with self._work.at_most(MOST_WORK + WORK_PER_BYTE * len(value)):
                return self._violation(value)
        finally:
            self._validator.means.forget()

    def fault(self, value: bytes) -> str | None:
        """Says what is certainly wrong with a value that should be valid; None if nothing is.

        It is read as every client reads it. What would be too much work counts as right here.
        """
        try:
            with self._work.at_most(MOST_WORK + WORK_PER_BYTE * len(value)):
                self._work.spend(2 * len(value))
                error = next(faults(self._validator, brief(json.loads(value.decode()))), None)
                return None if error is None else error.message[:300]
        except (Unverifiable, MatchError, RecursionError):
            return None
        except ValueError as error:
            return f"it is not JSON: {error}"
        finally:
            self._validator.means.forget()

    def _violation(self, value: bytes) -> Violation | None:
        try:
            text = value.decode("utf-8")
        except UnicodeDecodeError as error:
            return Violation("the value is not UTF-8", error.start, error.end)
        end = len(text)
        try:
            self._work.spend(2 * len(text))
            whole = read(text)
            end = whole.end
            errors = list(islice(faults(self._validator, brief(whole.value)), MOST_ERRORS))
            if not errors:
                return None
            return _in_bytes(text, *_first(errors, whole))
        except TextError as error:
            return _in_bytes(text, str(error), error.start, error.end)
        except (Unverifiable, MatchError, RecursionError) as error:
            reason = str(error) or "it is nested too deep"
            return _in_bytes(text, f"cannot be verified: {reason}", 0, end)


def _in_bytes(text: str, message: str, start: int, end: int) -> Violation:
    first = len(text[:start].encode())
    size = len(text[start:end].encode()) + max(end - len(text), 0)
    return Violation(message[:300], first, first + size)


def _first(errors: Iterable[ValidationError], whole: Part) -> tuple[str, int, int]:
    """The error that ends first: whatever comes later is written anew anyway."""
    found = [(error.message, *_place(error, whole)) for error in errors]
    return min(found, key=lambda place: (place[2], -place[1]))


def _place(error: ValidationError, whole: Part) -> tuple[int, int]:  # noqa: PLR0911
    part: Part = whole
    last: str | int | None = None
    for key in error.absolute_path:
        child = part.child(key)
        if child is None:
            return part.start, part.end
        part, last = child, key
    keyword = error.validator
    if keyword in _AT_THE_NAME and isinstance(last, str):
        return part.name_start, part.name_end
    if keyword in _AT_THE_END:
        return part.end - 1, part.end
    if keyword == "minLength":
        return part.end - 1, part.end
    if keyword in ("maxItems", "maxProperties"):
        parts = part.items or list(part.members.values())
        most = int(error.validator_value)
        if most < len(parts):
            return _gap(part, parts, most)
    if keyword in ("anyOf", "oneOf") and error.context:
        return _farthest(error, whole)
    if isinstance(part.value, int | float) and not isinstance(part.value, bool):
        # A number ends only with what follows it, were it the end of the text.
        return part.start, part.end + 1
    return part.start, part.end


def _farthest(error: ValidationError, whole: Part) -> tuple[int, int]:
    """Of several alternatives, blame the value where the one that got farthest gave up."""
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context or ():
        branch = inner.schema_path[0] if inner.schema_path else id(inner)  # `false` has none
        branches.setdefault(branch, []).append(inner)
    places = [_first(inner, whole)[1:] for inner in branches.values()]
    return max(places)


def _gap(part: Part, parts: list[Part], index: int) -> tuple[int, int]:
    """What stands before the member that is one too many: there it could have ended."""
    start = part.start if index == 0 else parts[index - 1].end
    end = parts[index].name_start or parts[index].start
    return start, max(end, start + 1)
