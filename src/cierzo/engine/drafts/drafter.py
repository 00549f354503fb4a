"""How many tokens each sequence drafts in the next step, and which.

Drafts are copied from the sequence's own text, or from what the client says it will be
(`native/runtime/draft_index.h`). A step computes a drafted token as one more row of its batch. As
many are drafted as make tokens come faster, by how often such drafts were right so far and by what
a row was seen to cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

import numpy as np
import numpy.typing as npt

from cierzo import _native
from cierzo.engine.drafts.step_costs import StepCosts
from cierzo.engine.sequence import Sequence

MOST = 48  # tokens drafted at once
# Acceptance is counted apart for sources that agree with few and with many of the last tokens.
_AGREEMENTS = (4, 6, 8, 12, 20, 32)
_FIRST_GUESS = (0.3, 0.45, 0.6, 0.75, 0.85, 0.92, 0.97)
_GUESS_WEIGHT = 8.0  # drafted tokens that a first guess counts as
_MEMORY = 0.995  # of what was seen, a drafted token ago


class Draft:
    """One sequence's proposals. Its index follows the sequence's tokens."""

    __slots__ = ("_has_begun", "_num_accepted", "_num_rejected", "index")

    def __init__(self, predicted: npt.NDArray[np.int32]) -> None:
        """`predicted`: what the client says the answer will be."""
        self.index = _native.DraftIndex(predicted)
        self._has_begun = False
        self._num_accepted = self._num_rejected = 0  # drafted from the prediction, and not told of

    def count_prediction(self, drafted: int, accepted: int) -> None:
        """Of so many tokens drafted from the prediction so many were right."""
        self._num_accepted += accepted
        self._num_rejected += drafted - accepted

    def news_of_prediction(self) -> tuple[int, int]:
        """Tokens of it that were drafted and right, and that were wrong, since this was asked."""
        news = self._num_accepted, self._num_rejected
        self._num_accepted = self._num_rejected = 0
        return news

    def follow(self, sequence: Sequence) -> None:
        """Brings the index up to date."""
        self.index.truncate(sequence.num_unchanged)
        new = sequence.tokens[self.index.length : sequence.num_tokens]
        if not self._has_begun:
            self.index.extend(new[: sequence.num_prompt])
            self.index.begin_prediction()
            self._has_begun = True
            new = new[sequence.num_prompt :]
        if len(new):
            self.index.extend(new)
        sequence.num_unchanged = sequence.num_tokens


class Drafter:
    """Draws up what is drafted in a step, and learns from what came of it."""

    def __init__(self, costs: StepCosts) -> None:
        self._costs = costs
        self._drafted = [_GUESS_WEIGHT] * len(_FIRST_GUESS)
        self._accepted = [_GUESS_WEIGHT * guess for guess in _FIRST_GUESS]

    def plan(self, drafts: Iterable[tuple[Sequence, Draft]], decoding: int, room: int) -> None:
        """Writes drafts behind the tokens of sequences, and how many into `num_draft`.

        So many sequences decode in the step, and it has room for so many drafted tokens.
        """
        expected = float(decoding)  # tokens that the step will give
        drafted = 0
        heap: list[tuple[float, int, Sequence, Draft]] = []
        for number, (sequence, draft) in enumerate(drafts):
            sequence.num_draft = 0
            if self._most(sequence) > 0:
                draft.follow(sequence)
                agreement = draft.index.agreement
                if agreement:
                    heap.append((-self._chance(agreement), number, sequence, draft))
        heapify(heap)
        wanted: dict[Sequence, Draft] = {}
        while heap and room > 0:
            chance, number, sequence, draft = heappop(heap)
            if not self._costs.pays(expected, decoding, drafted, -chance):
                break
            expected -= chance
            drafted += 1
            room -= 1
            sequence.num_draft += 1
            wanted[sequence] = draft
            if sequence.num_draft < self._most(sequence):
                further = chance * self._chance(draft.index.agreement + sequence.num_draft)
                heappush(heap, (further, number, sequence, draft))
        for sequence, draft in wanted.items():
            tokens = draft.index.propose(sequence.num_draft)
            sequence.num_draft = len(tokens)
            first = sequence.num_tokens
            sequence.tokens[first : first + len(tokens)] = tokens

    def learn(self, draft: Draft, drafted: int, accepted: int) -> None:
        """Of so many drafted tokens so many were right; those behind the first wrong one say
        nothing."""
        agreement = draft.index.agreement  # as it was when they were drafted
        for place in range(min(accepted + 1, drafted)):
            kind = self._kind(agreement + place)
            self._drafted[kind] = _MEMORY * self._drafted[kind] + 1
            self._accepted[kind] = _MEMORY * self._accepted[kind] + (place < accepted)
        if draft.index.from_prediction:
            draft.count_prediction(drafted, accepted)

    def _chance(self, agreement: int) -> float:
        kind = self._kind(agreement)
        return self._accepted[kind] / self._drafted[kind]

    @staticmethod
    def _kind(agreement: int) -> int:
        return sum(agreement >= bound for bound in _AGREEMENTS)

    @staticmethod
    def _most(sequence: Sequence) -> int:
        """The last token of an answer is not computed, so it is not drafted either."""
        return min(MOST, sequence.max_len - sequence.num_tokens - 1)
