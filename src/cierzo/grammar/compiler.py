"""From a constraint to a matcher that masks tokens; what was compiled once is kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import llguidance

from cierzo.grammar.constraint import Constraint
from cierzo.grammar.errors import GrammarError
from cierzo.grammar.schema.compiling import limits as parser_limits
from cierzo.grammar.verifier import Verifier
from cierzo.grammar.vocabulary import Vocabulary

KEPT = 64  # grammars


@dataclass(frozen=True)
class Compiled:
    """A constraint ready to use by one sequence: the matcher is that sequence's own."""

    constraint: Constraint
    matcher: llguidance.LLMatcher
    verifiers: dict[str, Verifier]  # by rule


class GrammarCompiler:
    """Compiles constraints for one vocabulary. For use by several threads."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._kept: OrderedDict[Constraint, Compiled] = OrderedDict()
        self._lock = threading.Lock()

    def compile(self, constraint: Constraint) -> Compiled:
        """Raises GrammarError for a grammar that llguidance refuses, or that `prefix` breaks."""
        with self._lock:
            kept = self._kept.get(constraint)
            if kept is not None and not _spoilt(kept):
                self._kept.move_to_end(constraint)
                return self._copy(kept)
        made = self._compile(constraint)
        with self._lock:
            self._kept[constraint] = made
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._copy(made)

    @staticmethod
    def _copy(kept: Compiled) -> Compiled:
        return Compiled(kept.constraint, kept.matcher.deep_copy(), kept.verifiers)

    def _compile(self, constraint: Constraint) -> Compiled:
        matcher = llguidance.LLMatcher(
            self.vocabulary.llguidance, constraint.grammar, log_level=0, limits=parser_limits()
        )
        if matcher.is_error():
            raise GrammarError(_line(matcher.get_error()))
        if constraint.prefix and constraint.trigger is None:
            ids = self.vocabulary.encode(constraint.prefix)
            if not matcher.consume_tokens(ids):
                raise GrammarError(
                    "the last message begins an answer that the wanted format does not allow"
                )
        verifiers = {check.rule: Verifier(check.schema) for check in constraint.checks}
        return Compiled(constraint, matcher, verifiers)


def _spoilt(kept: Compiled) -> bool:
    """Whether a copy met the bounds: what the lexer knows is shared, and then of no use to any."""
    probe = kept.matcher.deep_copy()
    probe.compute_bitmask()
    return bool(probe.is_error())


def _line(error: str) -> str:
    return " ".join(error.split())[:300]
