"""Regular expressions as JSON schemas have them (ECMA-262): read, matched in bounded time, and made
into ones that masks understand."""

from cierzo.grammar.pattern.mask import Masked, excluding, masked, quoted
from cierzo.grammar.pattern.match import MatchError, matches
from cierzo.grammar.pattern.parse import PatternError, parse

__all__ = [
    "Masked",
    "MatchError",
    "PatternError",
    "excluding",
    "masked",
    "matches",
    "parse",
    "quoted",
]
