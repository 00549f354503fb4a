"""From a constraint to a matcher that masks tokens."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import llguidance

from cierzo.grammar.constraint import Constraint
from cierzo.grammar.errors import BeginningError, GrammarError, one_line
from cierzo.grammar.forced import MOST_FORCED, most_forced
from cierzo.grammar.pattern import Work
from cierzo.grammar.schema.subset.inlining import limits as parser_limits
from cierzo.grammar.validation import Unverifiable
from cierzo.grammar.verifier import Verifier
from cierzo.grammar.vocabulary import Vocabulary

KEPT = 64  # grammars that were checked and whose request has not come yet
FIRST_WORK = 8_000_000  # about two seconds; an answer is granted more as it grows


@dataclass(frozen=True)
class Compiled:
    """A constraint ready to use by one sequence: the matcher is that sequence's own."""

    constraint: Constraint
    matcher: llguidance.LLMatcher
    verifiers: dict[str, Verifier]  # by rule; of values that are held back
    # By rule: schemas of those that the grammar alone should make valid. They are read once such a
    # value is there; until then the text takes less room.
    believed: dict[str, str]
    work: Work  # that verifying may take, and whatever else is done again and again


class GrammarCompiler:
    """Compiles constraints for one vocabulary. For use by several threads.

    Every sequence gets a matcher that no other has had. Copies would share what the lexer has
    learnt, and with it how much is left of its bounds: whether one answer can go on would depend
    on others.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._kept: OrderedDict[Constraint, Compiled] = OrderedDict()  # checked, and not yet used
        self._taken: OrderedDict[int, None] = OrderedDict()  # hashes of those that were used lately
        self._lock = threading.Lock()

    def check(self, constraint: Constraint) -> None:
        """Compiles a constraint that is likely to be used soon. Raises GrammarError."""
        with self._lock:
            if constraint in self._kept:
                return
        compiled = self._compile(constraint)
        with self._lock:
            self._kept[constraint] = compiled
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    def take(self, constraint: Constraint) -> Compiled:
        """A matcher for one sequence.

        Raises GrammarError for a grammar that llguidance refuses, or that `beginning` breaks.
        """
        with self._lock:
            kept = self._kept.pop(constraint, None)
        return kept or self._compile(constraint)

    def renew(self, constraint: Constraint) -> None:
        """Compiles one that was taken for the next request with it, if it was not the first: the
        turns of a session have the same tools. Raises GrammarError."""
        with self._lock:
            first = hash(constraint) not in self._taken
            self._taken[hash(constraint)] = None
            self._taken.move_to_end(hash(constraint))
            if len(self._taken) > KEPT:
                self._taken.popitem(last=False)
        if not first:
            self.check(constraint)

    def _compile(self, constraint: Constraint) -> Compiled:
        schemas = {check.rule: json.loads(check.schema) for check in constraint.checks}
        matcher = llguidance.LLMatcher(
            self.vocabulary.llguidance,
            _grammar(constraint, schemas.values()),
            log_level=0,
            limits=parser_limits(),
        )
        if matcher.is_error():
            raise GrammarError(one_line(matcher.get_error()))
        if constraint.beginning and constraint.trigger is None:
            ids = self.vocabulary.encode(constraint.beginning)
            if not matcher.consume_tokens(ids):
                raise BeginningError("the grammar does not allow what the answer begins with")
        work = Work(FIRST_WORK)
        try:
            verifiers = {
                c.rule: Verifier(schemas[c.rule], work) for c in constraint.checks if c.held
            }
        except Unverifiable as error:
            raise GrammarError(str(error)) from error
        believed = {check.rule: check.schema for check in constraint.checks if not check.held}
        return Compiled(constraint, matcher, verifiers, believed, work)


def _grammar(constraint: Constraint, schemas: Iterable[Any]) -> str:
    """The constraint's grammar; it forces nothing where that may be too much at once."""
    if max(map(most_forced, schemas), default=0) <= MOST_FORCED:
        return constraint.grammar
    return f'%llguidance {{"no_forcing": true}}\n{constraint.grammar}'
