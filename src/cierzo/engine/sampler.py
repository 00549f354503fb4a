"""Choosing tokens: the Python face of the native sampler (`native/runtime/sampling_row.h`)."""

from __future__ import annotations

import math
from collections.abc import Sequence as AbstractSequence
from secrets import randbits

import numpy as np
import numpy.typing as npt

from cierzo import _native
from cierzo.engine.messages import TokenLogprobs
from cierzo.engine.sampling_params import SamplingParams

# Given in place of a token.
NOT_FINITE = _native.NOT_FINITE  # the logits are not all finite numbers
NOTHING_LEFT = _native.NOTHING_LEFT  # bias, bans, penalties and the mask leave no token
# What to say of each.
NO_TOKEN = {
    NOT_FINITE: "the model gave values that are not finite numbers for this request, so no token "
    "can be chosen; the checkpoint may be damaged",
    NOTHING_LEFT: "logit_bias, min_tokens, the penalties and the format that the answer must have "
    "leave no token to choose from",
}

_NEVER = -math.inf
NO_MASKS = np.empty((0, 0), dtype=np.uint32)


class SamplerState:
    """One sequence's parameters and the counts its penalties need; advanced by each token."""

    __slots__ = ("native",)

    def __init__(
        self,
        params: SamplingParams,
        prompt: npt.NDArray[np.int32],
        *,
        stop_ids: frozenset[int],
        vocab_size: int,
    ) -> None:
        """Raises ValueError for a token id outside the vocabulary."""
        seed = randbits(64) if params.seed is None else params.seed
        self.native = _native.sampling_state(
            vocab_size,
            prompt,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            min_p=params.min_p,
            top_a=params.top_a,
            presence_penalty=params.presence_penalty,
            frequency_penalty=params.frequency_penalty,
            repetition_penalty=params.repetition_penalty,
            seed=seed % 2**64,
            min_tokens=params.min_tokens,
            logprobs=-1 if params.logprobs is None else params.logprobs,
            bias=sorted((params.logit_bias | dict.fromkeys(params.forbidden, _NEVER)).items()),
            stop_ids=sorted(stop_ids),
        )

    def accept(self, token: int) -> None:
        """Adds a token that was not chosen but forced."""
        self.native.accept(token)

    def retract(self, token: int) -> None:
        """Takes the last token back: the state is as it was before it was added."""
        self.native.retract(token)

    @property
    def logprobs(self) -> TokenLogprobs:
        """Of the last token chosen; only if the parameters ask for them."""
        return TokenLogprobs(*self.native.logprobs)


class Sampler:
    """Turns rows of logits into tokens. A row's result depends on that row and its state alone."""

    def __init__(self, vocab_size: int) -> None:
        self._native = _native.RowSampler(vocab_size)

    def choose(
        self,
        logits: npt.NDArray[np.float32],
        rows: list[int],
        states: AbstractSequence[SamplerState],
        masks: npt.NDArray[np.uint32] = NO_MASKS,
        slots: list[int] | None = None,
    ) -> list[int]:
        """One token for each state, from the row of `logits` [L, vocab] at the same place.

        masks[slots[i]] [S, words] has a bit for each token that state i may choose, lowest bit
        first; slot -1, or no slots at all, allows every token. `NOT_FINITE` or `NOTHING_LEFT`
        where there is none to give. The interpreter lock is free meanwhile.
        """
        if slots is None:
            slots = [-1] * len(rows)
        tokens: list[int] = self._native.choose(
            logits, rows, [state.native for state in states], masks, slots
        )
        return tokens

    def logprobs_of(
        self,
        logits: npt.NDArray[np.float32],
        first_row: int,
        tokens: npt.NDArray[np.int32],
        num_top: int,
    ) -> tuple[TokenLogprobs, ...] | None:
        """Log-probability of tokens[i] by row `first_row + i`, each with `num_top` alternatives.

        None where the logits are not finite.
        """
        entries = self._native.explain(logits, first_row, tokens, num_top)
        if len(entries) != len(tokens):
            return None
        return tuple(TokenLogprobs(*entry) for entry in entries)
