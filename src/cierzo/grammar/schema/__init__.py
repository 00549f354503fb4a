"""JSON schemas made into masks: `enforce` gives the largest part that llguidance can enforce.

The rest is for `grammar.verifier`, which holds the finished value to the schema as it was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cierzo.grammar.pattern import MatchError, Work
from cierzo.grammar.schema.dialect import check_form, draft_of
from cierzo.grammar.schema.errors import SchemaError, SchemaTooLarge
from cierzo.grammar.schema.limits import (
    DEFAULT_LIMITS,
    SchemaLimits,
    check_size,
    schema_limits,
)
from cierzo.grammar.schema.references import References
from cierzo.grammar.schema.rewrite.combined import MOST_WAYS
from cierzo.grammar.schema.rewrite.positive import rules
from cierzo.grammar.schema.rewrite.rewriter import Rewriter
from cierzo.grammar.schema.subset.contradictions import contradiction
from cierzo.grammar.schema.subset.edits import (
    Written,
    drop_unused,
    join_words,
    loosen,
    spread,
    written,
)
from cierzo.grammar.schema.subset.infinite import drop_infinite
from cierzo.grammar.schema.subset.inlining import (
    CONTRADICTION,
    inlined,
    unsatisfiable,
)
from cierzo.grammar.validation import Unverifiable, faults, resolver_for, validator_for
from cierzo.grammar.values import brief

__all__ = [
    "DEFAULT_LIMITS",
    "Enforced",
    "SchemaError",
    "SchemaLimits",
    "SchemaTooLarge",
    "enforce",
    "schema_limits",
]


FEW_WAYS = 3  # through alternatives, where more were too many


@dataclass(frozen=True)
class Enforced:
    """`expression` is what stands behind a rule's name in a grammar, and what `mask` became.

    `exact`: what fits is valid; else it must be verified.
    """

    mask: dict[str, Any]
    expression: str
    exact: bool


def enforce(schema: Any, limits: SchemaLimits = DEFAULT_LIMITS) -> Enforced:
    """Rewrites a schema; SchemaError if it cannot be served."""
    if not isinstance(schema, dict | bool):
        raise SchemaError("a schema must be an object, true or false")
    check_size(schema, limits)
    draft = draft_of(schema)
    check_form(schema, draft)
    schema = brief(schema)  # or messages would hold all of it
    try:
        resolver_for(schema, draft)
    except Unverifiable as error:
        raise SchemaError(str(error)) from error
    source = _Source(schema, draft, References(schema, draft), limits)
    rewriter, mask, result = _rewritten(source, guess=True)
    if result.problem is not None and rewriter.guessed:
        rewriter, mask, result = _rewritten(source, guess=False)
    if result.outline is not None and result.problem is None:
        outline = result.outline
        return Enforced(mask, outline.expression, rewriter.exact and outline.exact)
    message = result.problem or CONTRADICTION
    if not unsatisfiable(message):
        # The mask holds to the type at least, and the check to all the rest.
        kinds = {
            "type": sorted(rewriter.known.types({k: v for k, v in mask.items() if k != "$defs"}))
        }
        return Enforced(kinds, inlined(kinds), exact=False)
    reason = message.splitlines()[0].rpartition("JSON schema: ")[2]
    plain = source.rewriter(guess=False)
    raise SchemaError(f"no value can be valid: {reason}", contradiction(plain.run(), plain.paths))


@dataclass
class _Source:
    schema: Any
    draft: int
    references: References
    limits: SchemaLimits

    @cached_property
    def _validator(self) -> Any:  # most schemas need none
        return validator_for(self.schema, self.draft, Work())

    def rewriter(self, *, guess: bool, ways: int = MOST_WAYS) -> Rewriter:
        def valid(part: Any, value: Any) -> bool:
            try:
                validator = self._validator.evolve(schema=part)
                return next(faults(validator, value), None) is None
            except (Unverifiable, MatchError, RecursionError, LookupError):
                rewriter.exact = False
                return True

        rewriter = Rewriter(
            self.references,
            self.draft,
            self.limits,
            valid,
            rules,
            guess=guess,
            most_ways=ways,
        )
        return rewriter


def _rewritten(
    source: _Source, *, guess: bool, ways: int = MOST_WAYS
) -> tuple[Rewriter, dict[str, Any], Written]:
    """Rewrites a schema once, to a mask and its grammar."""
    rewriter = source.rewriter(guess=guess, ways=ways)
    mask = rewriter.run()
    if not drop_infinite(mask):
        return rewriter, mask, Written(None, CONTRADICTION)
    drop_unused(mask)
    join_words(mask)
    result = written(mask)
    if not result.is_writable:
        loosen(mask)
        rewriter.exact = False
        result = written(mask)
    if "circular" in (result.problem or ""):
        spread(mask)
        result = written(mask)
    if "too large" in (result.problem or "") and ways > FEW_WAYS:
        return _rewritten(source, guess=guess, ways=FEW_WAYS)
    return rewriter, mask, result
