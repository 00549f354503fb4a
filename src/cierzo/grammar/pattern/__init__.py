"""Regular expressions as JSON schemas have them (ECMA-262): read, matched in bounded time, and made
into ones that masks understand."""

from cierzo.grammar.pattern.match import MOST_WORK, MatchError, Work, found, matches, may_differ
from cierzo.grammar.pattern.nodes import ANY_CHARACTER, Node, counts
from cierzo.grammar.pattern.parse import PatternError, is_clear, parse
from cierzo.grammar.pattern.rust import RustPatterns, excluding, in_rust, quoted
from cierzo.grammar.pattern.spelling import ODD, in_json, is_odd

__all__ = [
    "ANY_CHARACTER",
    "MOST_WORK",
    "ODD",
    "MatchError",
    "Node",
    "PatternError",
    "RustPatterns",
    "Work",
    "counts",
    "excluding",
    "found",
    "in_json",
    "in_rust",
    "is_clear",
    "is_odd",
    "matches",
    "may_differ",
    "parse",
    "quoted",
]
