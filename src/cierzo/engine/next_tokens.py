"""What a step's logits make of sequences: their next tokens are chosen, and drafts are verified.

A draft is right where the token that is chosen is the drafted one. Then the next row of logits,
which was computed as if it were right, is what a step of its own would have given, and the next
token is chosen from it; and so on, up to the first that is wrong. So drafts change no token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from cierzo.backends.ops import Logits
from cierzo.engine.constraints.constrained import ConstraintError
from cierzo.engine.constraints.mask_worker import fill
from cierzo.engine.constraints.workers import ConstraintWorkers, StepMasks
from cierzo.engine.messages import Failure, FinishReason, TokenLogprobs
from cierzo.engine.request import Request
from cierzo.engine.sampler import NO_TOKEN, NOT_FINITE, NOTHING_LEFT, Sampler

PromptLogprobs: TypeAlias = tuple[TokenLogprobs, ...]

# A mask that takes longer is filled beside a step, not between its rows.
_QUICK_MASK_SECONDS = 0.001


@dataclass(slots=True)
class Computed:
    """A request all of whose tokens are computed, and the row of the logits after them."""

    request: Request
    row: int
    prompt_logprobs: PromptLogprobs  # that this step gave
    draft: npt.NDArray[np.int32]  # tokens that were computed after them, each with a row
    num_drafted: int
    added: int = 0  # tokens that it got
    accepted: int = 0  # of the draft


@dataclass(frozen=True, slots=True)
class Advanced:
    """What became of it: it goes on, ends, or cannot go on."""

    computed: Computed
    finish_reason: FinishReason | None = None
    error: str | None = None
    failure: Failure = "failed"  # with an error
    to_check: bool = False  # a value must be verified before it goes on


class NextTokens:
    """Adds tokens to sequences."""

    def __init__(self, sampler: Sampler, workers: ConstraintWorkers) -> None:
        self._sampler = sampler
        self._workers = workers

    def add(self, computed: list[Computed], logits: Logits, masks: StepMasks) -> list[Advanced]:
        """Adds to each sequence its next tokens, if it may have any and its mask is there."""
        advanced: list[Advanced] = []
        scored: list[Computed] = []  # whose next token is known
        sampled: list[Computed] = []
        for one in computed:
            request, sequence = one.request, one.request.sequence
            if sequence.num_tokens == sequence.max_len:  # max_tokens is 0
                advanced.append(Advanced(one, "length"))
            elif request.forced:
                scored.append(one)
            elif sequence.request_id in masks.late:
                self._workers.hold_for_mask(request)
                advanced.append(Advanced(one))
            else:
                sampled.append(one)
        while scored:
            scored = [one for one in scored if not self._score(one, logits, advanced)]
        while sampled:
            sampled = self._sample(sampled, logits, masks, advanced)
        for one in computed:
            sequence = one.request.sequence
            # The last token is computed (once more, if need be) for the logits after it.
            sequence.num_computed = min(sequence.num_computed, sequence.num_tokens - 1)
        return advanced

    def _score(self, one: Computed, logits: Logits, advanced: list[Advanced]) -> bool:
        """Adds the next token that is known already, with its log-probability. Whether that is all
        for this step."""
        request = one.request
        num_top = request.sequence.params.logprobs or 0
        token = np.array([request.forced[0]], dtype=np.int32)
        logprobs = self._sampler.logprobs_of(logits, one.row, token, num_top)
        if logprobs is None:
            advanced.append(self._not_finite(one))
            return True
        result = self._add(one, int(token[0]), logprobs[0])
        if result is None and not request.forced:
            result = Advanced(one)
        if result is not None:
            advanced.append(result)
        return result is not None

    def _sample(
        self,
        computed: list[Computed],
        logits: Logits,
        masks: StepMasks,
        advanced: list[Advanced],
    ) -> list[Computed]:
        """Chooses the next token of each sequence, and adds it. Those whose draft was right."""
        tokens = self._sampler.choose(
            logits,
            [one.row for one in computed],
            [one.request.state for one in computed],
            masks.masks,
            [masks.slots.get(one.request.sequence.request_id, -1) for one in computed],
        )
        further = []
        for one, token in zip(computed, tokens, strict=True):
            request = one.request
            if token == NOT_FINITE:
                result: Advanced | None = self._not_finite(one)
            elif token == NOTHING_LEFT:
                result = Advanced(one, error=NO_TOKEN[token], failure="no_answer")
            else:
                logprobs = request.state.logprobs if request.wants_logprobs else None
                result = self._add(one, token, logprobs)
                if result is None and not self._next_mask(request, masks):
                    result = Advanced(one)
            if result is None:
                further.append(one)
            else:
                advanced.append(result)
        return further

    def _not_finite(self, one: Computed) -> Advanced:
        """A row of drafts may have spoiled those before it: then it is tried without."""
        if one.num_drafted == 0:
            return Advanced(one, error=NO_TOKEN[NOT_FINITE])
        one.request.may_draft = False
        return Advanced(one)

    def _add(self, one: Computed, token: int, logprobs: TokenLogprobs | None) -> Advanced | None:
        """Adds a token to a sequence. None if its draft has that token as well, so that the next
        one can be added in this step."""
        request, sequence = one.request, one.request.sequence
        before = sequence.num_tokens
        try:
            added = request.add_token(token, logprobs)
        except ConstraintError as error:
            return Advanced(one, error=str(error), failure="no_answer")
        except Exception as error:  # a defect ends this answer alone
            return Advanced(one, error=f"{type(error).__name__}: {error}"[:300])
        if added is None:
            return Advanced(one, to_check=True)
        one.added += added.count
        if added.finish_reason is not None or sequence.num_computed < before:  # or some taken back
            return Advanced(one, added.finish_reason)
        new = sequence.tokens[before : sequence.num_tokens]
        same = _first_different(new, one.draft)
        sequence.num_computed += same
        one.accepted += same
        if same < len(new):
            return Advanced(one)
        one.row += same
        one.draft = one.draft[same:]
        return None

    def _next_mask(self, request: Request, masks: StepMasks) -> bool:
        """Whether one more token can be chosen in this step. Its mask is filled, if need be."""
        if request.forced:
            return False
        slot = masks.slots.get(request.sequence.request_id)
        if not request.wants_mask:
            return slot is None
        constrained = request.constrained
        if slot is None or constrained is None or constrained.mask_cost > _QUICK_MASK_SECONDS:
            return False
        fill(constrained)
        masks.masks[slot] = constrained.mask
        return True


def _first_different(new: npt.NDArray[np.int32], draft: npt.NDArray[np.int32]) -> int:
    """How many first tokens are the same."""
    count = min(len(new), len(draft))
    differs = new[:count] != draft[:count]
    return int(differs.argmax()) if differs.any() else count
