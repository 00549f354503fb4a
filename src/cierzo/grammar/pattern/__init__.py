"""Regular expressions as JSON schemas have them (ECMA-262): read, matched in bounded time, and made
into ones that masks understand."""

from cierzo.grammar.pattern.inverse import inverse
from cierzo.grammar.pattern.mask import Masked, excluding, masked, quoted
from cierzo.grammar.pattern.match import MOST_WORK, MatchError, Work, found, matches
from cierzo.grammar.pattern.nodes import Node, counts
from cierzo.grammar.pattern.parse import PatternError, parse

__all__ = [
    "MOST_WORK",
    "Masked",
    "MatchError",
    "Node",
    "PatternError",
    "Work",
    "counts",
    "excluding",
    "found",
    "inverse",
    "masked",
    "matches",
    "parse",
    "quoted",
]
