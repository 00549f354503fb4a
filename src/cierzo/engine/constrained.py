"""A sequence under a constraint: which tokens may come next, which must, and what is taken back.

The answer is a row of tokens, counted from 0 after the prompt. Some are sampled under a mask, some
are forced by the grammar, and some are taken back: white space that is no part of a text, and
what follows a choice that made a checked value invalid.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from cierzo.grammar.search import RESTART, Search
from cierzo.grammar.vocabulary import WHITE_SPACE, Mask, Vocabulary

if TYPE_CHECKING:
    from cierzo.grammar.compiler import Compiled
    from cierzo.grammar.verifier import Violation


class ConstraintError(RuntimeError):
    """The answer cannot be given the form that was asked for. One line."""


@dataclass(frozen=True, slots=True)
class Change:
    """What follows from a token: of the answer, the first `keep` tokens stay; `append` follow."""

    keep: int
    append: tuple[int, ...] = ()


class Constrained:
    """The state of one sequence's constraint. Calls for masks may come from another thread, but
    never two at once, and none while a token is accepted."""

    def __init__(self, compiled: Compiled, vocabulary: Vocabulary) -> None:
        constraint = compiled.constraint
        self._matcher = compiled.matcher
        self._fresh: Any = compiled.matcher.deep_copy() if compiled.verifiers else None
        self._verifiers = compiled.verifiers
        self._vocabulary = vocabulary
        self._trigger = constraint.trigger
        self._trims = constraint.trims
        self._may_begin_in_space = bool(constraint.prefix)
        self._tokens: list[int] = []
        self._active = constraint.trigger is None  # the grammar holds for the next token
        self._begun = 0  # tokens before the grammar began to hold
        self._floor = 0  # tokens before it are never taken back
        self._allowed = 0  # tokens in the last mask
        self._choices: list[int] = []  # after the floor: tokens that could have been others
        self._bans: dict[int, list[int]] = {}  # by place: what made the answer invalid
        self._captures = 0  # values of rules seen so far
        self._search = Search()
        self.final = 0  # tokens of the answer that stand for good
        self.ended = False  # nothing may follow

    @property
    def needs_mask(self) -> bool:
        """Whether the next token must be sampled under a mask."""
        return self._active or self._begins_text

    @property
    def _begins_text(self) -> bool:
        return self._trims and not self._tokens and not self._may_begin_in_space

    def fill_mask(self, mask: Mask) -> None:
        """Writes which tokens may come next. The interpreter lock is free most of the time."""
        if not self._active:
            np.invert(self._vocabulary.starting_in_space, out=mask)
            return
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        for token in self._bans.get(len(self._tokens), ()):
            mask[token >> 5] &= ~np.uint32(1 << (token & 31))
        if self._verifiers:
            self._allowed = int(np.bitwise_count(mask).sum())

    def accept(self, token: int) -> Change:
        """Takes a token that was sampled. Raises ConstraintError if the answer cannot go on."""
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

    def _settle(self, keep: int) -> Change:
        """Verifies what is complete and adds what is forced, until a choice is to be made."""
        while True:
            at = self._verify()
            if at is not None:
                return Change(min(keep, at))
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
        text = list(takewhile(lambda i: i not in self._vocabulary.special, self._tokens[place:]))
        if self._verifiers or not text:
            return 0
        data = self._vocabulary.bytes_of(text)
        try:
            found = self._vocabulary.encode(data.decode())
        except UnicodeDecodeError:  # it begins within a letter
            return 0
        if found[0] == text[0] or self._vocabulary.bytes_of(found) != data:
            return 0
        self._tokens[place : place + len(text)] = found
        return 1

    def _verify(self) -> int | None:
        """Checks the values that have become complete.

        None if they are valid; if not, how many tokens are left after some were taken back.
        """
        if not self._verifiers:
            return None
        captures = self._matcher.get_captures()
        new, self._captures = captures[self._captures :], len(captures)
        for rule, value in new:
            verifier = self._verifiers.get(rule)
            if verifier is None:
                continue
            violation = verifier.violation(value)
            if violation is not None:
                return self._rewind(value, violation)
            self._floor = self.final = len(self._tokens)
            self._choices.clear()
            self._bans.clear()
            self._search = Search()
        return None

    def _rewind(self, value: bytes, violation: Violation) -> int:
        """Takes back what follows the choice that is to be made again, and bans what it was."""
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
        self._matcher.consume_tokens(self._tokens[self._begun :])
        self._check()
        self._captures = len(self._matcher.get_captures())
        return place

    def _consume(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            error = " ".join(self._matcher.get_error().split())[:200]
            raise ConstraintError(f"the answer's format became too complex to go on: {error}")
