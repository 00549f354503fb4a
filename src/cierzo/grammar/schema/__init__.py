"""JSON schemas made into masks: `enforce` gives the largest part that llguidance can enforce.

The rest is for `grammar.verifier`, which holds the finished value to the schema as it was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cierzo.grammar.schema.compiling import (
    COMPILE_LIMITS,
    drop_unused,
    inline,
    problem,
    spread,
    unsatisfiable,
    weaken,
)
from cierzo.grammar.schema.contradictions import contradiction, drop_contradictions
from cierzo.grammar.schema.dialect import Path, check_form, draft_of
from cierzo.grammar.schema.endless import drop_endless
from cierzo.grammar.schema.errors import SchemaError
from cierzo.grammar.schema.limits import DEFAULT_LIMITS, SchemaLimits, check_size
from cierzo.grammar.schema.references import References
from cierzo.grammar.schema.rewrite import Rewriter
from cierzo.grammar.validation import Unverifiable, validator_for

__all__ = ["COMPILE_LIMITS", "Enforced", "SchemaError", "SchemaLimits", "enforce", "inline"]


@dataclass(frozen=True)
class Enforced:
    """`mask` is what `inline` is given. `exact`: what fits is valid; else it must be verified."""

    mask: dict[str, Any]
    exact: bool


def enforce(schema: Any, limits: SchemaLimits = DEFAULT_LIMITS) -> Enforced:
    """Rewrite a schema; SchemaError if it cannot be served."""
    if not isinstance(schema, dict | bool):
        raise SchemaError("a schema must be an object, true or false")
    check_size(schema, limits)
    draft = draft_of(schema)
    check_form(schema, draft)
    references = References(schema, draft)
    made, message = _made(schema, draft, references, limits, guess=True)
    if message is not None and made.guessed:
        made, message = _made(schema, draft, references, limits, guess=False)
    if message is not None:
        if unsatisfiable(message):
            where = _where(schema, draft, references, limits)
            raise SchemaError(f"no value can be valid: {_last(message)}", where)
        raise SchemaError(f"cannot be made into a mask: {_last(message)}")
    return Enforced(made.mask, made.exact)


@dataclass
class _Made:
    mask: dict[str, Any]
    exact: bool
    guessed: bool


def _last(message: str) -> str:
    """Give what llguidance says, without where in the grammar it says it."""
    return message.splitlines()[0].rpartition("JSON schema: ")[2]


def _made(
    schema: Any, draft: int, references: References, limits: SchemaLimits, *, guess: bool
) -> tuple[_Made, str | None]:
    rewriter = _rewriter(schema, draft, references, limits, guess=guess)
    mask = rewriter.run()
    made = _Made(mask, rewriter.exact, rewriter.guessed)
    for _ in range(3):
        if not drop_endless(mask):
            return (
                made,
                "JSON schema: Unsatisfiable schema: its parts contradict each other",
            )
        drop_unused(mask)
        message = problem(mask)
        if message is None or not unsatisfiable(message) or not drop_contradictions(mask):
            break
    if message is not None and "circular" in message:
        spread(mask)
        message = problem(mask)
    if message is not None and not unsatisfiable(message):
        message = weaken(mask, message)
        made.exact = False
    return made, message


def _rewriter(
    schema: Any, draft: int, references: References, limits: SchemaLimits, *, guess: bool
) -> Rewriter:
    validator = validator_for(schema, draft, 1_000_000)

    def valid(part: Any, value: Any) -> bool:
        try:
            return bool(validator.evolve(schema=part).is_valid(value))
        except (Unverifiable, RecursionError, LookupError):
            rewriter.exact = False
            return True

    rewriter = Rewriter(references, draft, limits, valid, guess=guess)
    return rewriter


def _where(schema: Any, draft: int, references: References, limits: SchemaLimits) -> Path:
    """Give the part that makes a schema impossible."""
    rewriter = _rewriter(schema, draft, references, limits, guess=False)
    return contradiction(rewriter.run(), rewriter.paths)
