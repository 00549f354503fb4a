"""One request in the engine: how its tokens are chosen, and which of them were given out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass

from cierzo.engine.constraints.constrained import Change, Constrained
from cierzo.engine.drafts.draft import Draft
from cierzo.engine.messages import FinishReason, StepOutput, TokenLogprobs
from cierzo.engine.sampler import SamplerState
from cierzo.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class AddedTokens:
    """How many tokens were added, and why the answer ends with them, if it does."""

    count: int
    finish_reason: FinishReason | None


class Request:
    """A sequence with its sampler and constraint. Tokens are given out once they are final."""

    __slots__ = (
        "_emitted",
        "_last_sampled",
        "_logprobs",
        "constrained",
        "draft",
        "forced",
        "may_draft",
        "sequence",
        "state",
    )

    def __init__(
        self,
        sequence: Sequence,
        state: SamplerState,
        constrained: Constrained | None,
        draft: Draft | None = None,
    ) -> None:
        self.sequence = sequence
        self.state = state
        self.constrained = constrained
        # Tokens that come next whatever the logits say, but whose log-probability is wanted.
        self.forced: deque[int] = deque()
        self.draft = draft
        self.may_draft = draft is not None
        self._logprobs: list[TokenLogprobs] = []  # of the answer's tokens, if asked for
        self._emitted = 0  # tokens of the answer given out
        self._last_sampled = -1  # under a constraint
        if constrained is not None:
            sequence.num_fixed = sequence.num_prompt

    @property
    def wants_logprobs(self) -> bool:
        """Whether log-probabilities of the answer are asked for."""
        return self.sequence.params.logprobs is not None

    @property
    def wants_mask(self) -> bool:
        """Whether the next token is to be sampled under a mask."""
        return self.constrained is not None and not self.forced and self.constrained.needs_mask

    def add_token(self, token: int, logprobs: TokenLogprobs | None) -> AddedTokens | None:
        """Adds a token that was chosen, or was first in `forced`, and those that follow from it.

        None: it completed a value that must be verified first. `constrained.settle` does, and
        what that gives goes to `apply`. Raises ConstraintError if the answer cannot go on.
        """
        sequence = self.sequence
        was_forced = bool(self.forced)
        if was_forced:
            self.forced.popleft()
            self.state.accept(token)
        sequence.append(token)
        if logprobs is not None:
            self._logprobs.append(logprobs)
        if self.constrained is None or was_forced:
            return AddedTokens(1, self._ending(token))
        self._last_sampled = token
        change = self.constrained.accept(token)
        return None if change is None else self.apply(change)

    def draft_forced(self, most: int) -> int:
        """Writes up to `most` forced tokens behind those of the sequence; how many.

        Not the last one, whose log-probability the one before it gives.
        """
        sequence = self.sequence
        count = min(most, len(self.forced) - 1, sequence.max_len - sequence.num_tokens - 1)
        sequence.num_draft = max(count, 0)
        first = sequence.num_tokens
        sequence.tokens[first : first + sequence.num_draft] = list(self.forced)[
            : sequence.num_draft
        ]
        return sequence.num_draft

    def apply(self, change: Change) -> AddedTokens:
        """Does what follows from the token that was sampled last."""
        count = 1
        if change.keep < self.sequence.num_generated:
            self._truncate(change.keep)
        if self.constrained is not None:
            self.sequence.num_fixed = self.sequence.num_prompt + self.constrained.final
            self.sequence.calls_tool = self.constrained.triggered
        if self.wants_logprobs:
            self.forced.extend(change.append)
        else:
            count += self._append(change.append)
        return AddedTokens(count, self._ending(self._last_sampled))

    def output(
        self, finish: FinishReason | None, prompt_logprobs: tuple[TokenLogprobs, ...]
    ) -> StepOutput | None:
        """What can be given out now; None if that is nothing."""
        sequence = self.sequence
        num_generated = sequence.num_generated
        end = num_generated
        if self.constrained is not None and finish != "length":
            end = min(self.constrained.final, num_generated)
        places = list(range(self._emitted, end))
        stop_token_id = None
        if finish == "stop" and sequence.last_token in sequence.stop_ids and num_generated:
            stop_token_id = sequence.last_token
            if end < num_generated:  # white space before it does not belong to the answer
                places.append(num_generated - 1)
        if not places and finish is None and not prompt_logprobs:
            return None
        first = sequence.num_prompt
        accepted, rejected = (0, 0) if self.draft is None else self.draft.news_of_prediction()
        self._emitted = end
        return StepOutput(
            sequence.request_id,
            tuple(int(sequence.tokens[first + place]) for place in places),
            tuple(self._logprobs[place] for place in places) if self.wants_logprobs else None,
            prompt_logprobs or None,
            finish,
            stop_token_id,
            sequence.num_prompt,
            sequence.num_cached or 0,
            accepted,
            rejected,
        )

    def _truncate(self, keep: int) -> None:
        """Leaves the first `keep` tokens of the answer."""
        sequence = self.sequence
        length = sequence.num_prompt + keep
        for token in reversed(sequence.tokens[length : sequence.num_tokens].tolist()):
            self.state.retract(token)
        del self._logprobs[keep:]
        sequence.truncate(length)

    def _append(self, tokens: AbstractSequence[int]) -> int:
        """Adds tokens without sampling, as far as there is room. How many."""
        sequence = self.sequence
        fitting = tokens[: sequence.max_len - sequence.num_tokens]
        for token in fitting:
            sequence.append(token)
            self.state.accept(token)
        return len(fitting)

    def _ending(self, token: int) -> FinishReason | None:
        sequence = self.sequence
        if self.forced:
            return "length" if sequence.num_tokens == sequence.max_len else None
        constrained = self.constrained
        if constrained is None:
            stopped = token in sequence.stop_ids
        elif constrained.ended:
            stopped = constrained.final == sequence.num_generated
        else:
            # A token that was taken back ends nothing.
            stopped = token in sequence.stop_ids and sequence.last_token == token
        if stopped:
            return "stop"
        return "length" if sequence.num_tokens == sequence.max_len else None
