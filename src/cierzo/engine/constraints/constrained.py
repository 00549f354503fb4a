"""A sequence under a constraint: which tokens may come next, which must, and what is taken back.

The answer is a row of tokens, counted from 0 after the prompt. Some are sampled under a mask, some
are forced by the grammar, and some are taken back: white space that does not belong to a text, and
what follows a choice that made a checked value invalid.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cierzo.grammar.errors import one_line
from cierzo.grammar.pattern import MatchError
from cierzo.grammar.search import RESTART, Search
from cierzo.grammar.vocabulary import WHITE_SPACE, TokenMask, Vocabulary

if TYPE_CHECKING:
    from cierzo.grammar.compiler import Compiled
    from cierzo.grammar.verifier import Verifier, Violation

# Work that may be spent on verifying an answer, and on reading it anew: so much, and more with each
# of its tokens, those that were taken back too. Whether an answer is found depends on it alone.
WORK_PER_TOKEN = 1_000  # a quarter of a millisecond, which the model takes for it in any case
WORK_TO_READ = 30  # a token anew


class ConstraintError(RuntimeError):
    """The answer cannot be given the form that was asked for. One line."""


@dataclass(frozen=True, slots=True)
class Change:
    """What follows from a token: of the answer, the first `keep` tokens stay; `append` follow."""

    keep: int
    append: tuple[int, ...] = ()


class _Value(NamedTuple):
    """A value that must be verified, and the grammar's rule that it follows."""

    rule: str
    text: bytes


class _Unverified(NamedTuple):
    """Values to verify, and how many tokens of the answer were kept before (see `Change`)."""

    keep: int
    values: list[_Value]


class Constrained:
    """The state of one sequence's constraint. `fill_mask` and `settle` may be called on other
    threads, but never two calls at once."""

    def __init__(self, compiled: Compiled, vocabulary: Vocabulary) -> None:
        constraint = compiled.constraint
        self._matcher = compiled.matcher
        self._fresh: Any = compiled.matcher.deep_copy() if compiled.verifiers else None
        self._verifiers = compiled.verifiers
        self._believed = compiled.believed
        self._witnesses: dict[str, Verifier] = {}  # by rule, of those that have been asked
        self._work = compiled.work
        self._vocabulary = vocabulary
        self.mask: TokenMask = np.zeros(vocabulary.num_words, dtype=np.uint32)
        self.mask_ready = False  # whether it is the next token's
        self.mask_seconds = 0.0  # that masks took in all
        self.mask_cost = 0.0  # seconds that the last one took
        self.pauses = 0  # that checks made in all
        self.abandoned = False  # the request is gone
        self._trigger = constraint.trigger
        self._trims = constraint.trims
        self._may_begin_in_space = bool(constraint.beginning)
        self._tokens: list[int] = []
        self._active = constraint.trigger is None  # the grammar holds for the next token
        self._begun = 0  # tokens before the grammar began to hold
        self._floor = 0  # tokens before it are never taken back
        self._allowed = 0  # tokens in the last mask
        self._choices: list[int] = []  # after the floor: tokens that could have been others
        self._bans: dict[int, list[int]] = {}  # by place: what made the answer invalid
        self._captures = 0  # values of rules seen so far
        self._unverified: _Unverified | None = None  # for `settle`
        self._search = Search()
        self.final = 0  # tokens of the answer that stand for good
        self.ended = False  # nothing may follow

    @property
    def needs_mask(self) -> bool:
        """Whether the next token must be sampled under a mask."""
        return self._active or self._begins_text

    @property
    def triggered(self) -> bool:
        """Whether the trigger has come: the answer has a call."""
        return self._trigger is not None and self._active

    @property
    def _begins_text(self) -> bool:
        return self._trims and not self._tokens and not self._may_begin_in_space

    def fill_mask(self) -> None:
        """Writes which tokens may come next. The interpreter lock is free most of the time."""
        mask = self.mask
        if not self._active:
            np.invert(self._vocabulary.starting_in_space, out=mask)
            return
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        for token in self._bans.get(len(self._tokens), ()):
            mask[token >> 5] &= ~np.uint32(1 << (token & 31))
        if self._verifiers:
            self._allowed = int(np.bitwise_count(mask).sum())

    def accept(self, token: int) -> Change | None:
        """Takes a token that was sampled. Raises ConstraintError if the answer cannot go on.

        None: a value has become complete that must be verified. `settle` does, and has the change.
        """
        self.mask_ready = False
        self._work.grant(WORK_PER_TOKEN)
        place = len(self._tokens)
        self._tokens.append(token)
        if not self._active:
            if token != self._trigger:
                if not (self._trims and self._vocabulary.may_be_trimmed(token)):
                    self.final = place + 1
                return Change(place + 1)
            keep = self._begin()
        else:
            keep = place + 1
            if self._verifiers and self._allowed > 1:
                self._choices.append(place)
            self._consume(token)
        return self._settle(keep)

    def _begin(self) -> int:
        """The trigger has come: takes white space before it back. How many tokens were kept."""
        text = self._tokens[:-1]
        keep = len(text)
        if self._trims:
            while keep and self._vocabulary.ends_in_space(text[keep - 1]):
                keep -= 1
        if keep == len(text):
            keep += 1
        else:
            # The first token to go may hold more than white space.
            rest = self._vocabulary.bytes_of(text[keep:]).rstrip(WHITE_SPACE)
            self._tokens[keep:-1] = self._vocabulary.encode(rest.decode("utf-8", "replace"))
        self._active = True
        self._begun = self._floor = self.final = len(self._tokens)
        return keep

    def settle(self, pause: Callable[[], None] | None = None) -> Change:
        """Verifies values, which may take long, and goes on from there as `accept` does.

        `pause` is called every few milliseconds.
        """
        self._work.pause = pause
        try:
            while self._unverified is not None:
                unverified, self._unverified = self._unverified, None
                at = self._verify(unverified.values)
                if at is not None:
                    return Change(min(unverified.keep, at))
                change = self._settle(unverified.keep)
                if change is not None:
                    return change
            raise RuntimeError("there is nothing to settle")
        finally:
            self._work.pause = None

    def _settle(self, keep: int) -> Change | None:
        """Adds what is forced, until a choice is to be made, or there are values to verify."""
        while True:
            values = self._values()
            if values:
                self._unverified = _Unverified(keep, values)
                return None
            if self._matcher.is_stopped():
                self._check()
                self.ended = True
                self.final = len(self._tokens)
                break
            forced = self._matcher.compute_ff_tokens() if self._vocabulary.forces else []
            if not forced:
                break
            for token in forced:
                self._tokens.append(token)
                self._consume(token)
            if keep == len(self._tokens) - len(forced) and keep > self._begun:
                keep -= self._respell(keep - 1)
        if not self._verifiers:
            self.final = len(self._tokens)
        return Change(keep, tuple(self._tokens[keep:]))

    def _respell(self, place: int) -> int:
        """Cuts a sampled token and the forced text behind it as the history will: a quote and a
        comma that turn out to stand together may be one token. 1 if the sampled token changed.

        The text is the same, so the matcher need not know. Where values are verified, tokens that
        were sampled stay as they are, since they may be banned.
        """
        text = list(takewhile(lambda i: i not in self._vocabulary.control, self._tokens[place:]))
        if self._verifiers or not text:
            return 0
        data = self._vocabulary.bytes_of(text)
        try:
            respelled = self._vocabulary.encode(data.decode())
        except UnicodeDecodeError:  # it begins within a letter
            return 0
        if respelled[0] == text[0] or self._vocabulary.bytes_of(respelled) != data:
            return 0
        self._tokens[place : place + len(text)] = respelled
        return 1

    def _values(self) -> list[_Value]:
        """Values that have become complete and must be verified."""
        if not self._verifiers and not self._believed:
            return []
        captures = self._matcher.get_captures()
        new, self._captures = captures[self._captures :], len(captures)
        rules = self._verifiers.keys() | self._believed.keys()
        return [_Value(rule, text) for rule, text in new if rule in rules]

    def _verify(self, values: list[_Value]) -> int | None:
        """None if the values are valid; if not, how many tokens are left after some were taken
        back."""
        for rule, value in values:
            if rule in self._believed:
                self._confirm(rule, value)
                continue
            violation = self._verifiers[rule].violation(value)
            if violation is not None:
                return self._rewind(value, violation)
            self._floor = self.final = len(self._tokens)
            self._fresh = self._matcher.deep_copy()
            self._choices.clear()
            self._bans.clear()
            self._search = Search()
        return None

    def _confirm(self, rule: str, value: bytes) -> None:
        """Raises ConstraintError for a value that the grammar alone should have made valid.

        It is given out already, so another cannot be searched in its place.
        """
        from cierzo.grammar.verifier import Verifier  # late: an engine is started without it

        if rule not in self._witnesses:
            self._witnesses[rule] = Verifier(json.loads(self._believed[rule]), self._work)
        fault = self._witnesses[rule].fault(value)
        if fault is not None:
            raise ConstraintError(f"the answer is not valid under the schema: {fault[:200]}")

    def _rewind(self, value: bytes, violation: Violation) -> int:
        """Takes back what follows the choice that is to be made again, and bans what it was."""
        self._spend(WORK_TO_READ * (len(self._tokens) - self._floor), violation)
        offsets = [0]  # where tokens after the floor begin in their text
        for token in self._tokens[self._floor :]:
            offsets.append(offsets[-1] + len(self._vocabulary.bytes_of((token,))))
        text = self._vocabulary.bytes_of(self._tokens[self._floor :])
        begin = text.rfind(value)
        at = self._search.rewind(
            [offsets[place - self._floor] - begin for place in self._choices],
            violation.start,
            violation.end,
            len(text) - begin,
        )
        if at is None:
            raise ConstraintError(
                "no answer was found that is valid under the schema, after "
                f"{self._search.rewinds} attempts; the last one: {violation.message[:200]}"
            )
        if at == RESTART:
            place = self._floor
            self._bans.clear()
            self._choices.clear()
        else:
            place = self._choices[at]
            self._bans = {where: ids for where, ids in self._bans.items() if where <= place}
            self._bans.setdefault(place, []).append(self._tokens[place])
            del self._choices[at:]
        del self._tokens[place:]
        # Not `rollback`: after it, a capture that is one lexeme still holds what was taken back.
        self._matcher = self._fresh.deep_copy()
        for token in self._tokens[self._floor :]:  # one by one: others may want the interpreter
            self._matcher.consume_token(token)
        self._check()
        self._captures = len(self._matcher.get_captures())
        return place

    def _spend(self, amount: int, violation: Violation) -> None:
        try:
            self._work.spend(amount)
        except MatchError as error:
            raise ConstraintError(
                "no answer was found that is valid under the schema within the work that is done "
                f"for one; the last attempt: {violation.message[:200]}"
            ) from error

    def _consume(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            error = one_line(self._matcher.get_error(), 200)
            raise ConstraintError(f"the answer's format became too complex to go on: {error}")
