"""How many tokens each sequence drafts in the next step, and which.

A step computes a drafted token as one more row of its batch. As many are drafted as make tokens
come faster, by how often such drafts were right so far and by what a row was seen to cost. What was
seen may be of a moment in which somebody else had the processor: likely drafts are tried now and
then although they seem not to pay.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heapreplace

from cierzo.engine.drafts.draft import Draft, Origin
from cierzo.engine.sequence import Sequence
from cierzo.engine.step_costs import StepCosts

MOST = 80  # tokens drafted at once: more would make them come 1% sooner
MOST_BESIDE = 24  # while others decode, who wait for their next token meanwhile
# What is drafted although it seems not to pay, and in one step of how many.
TRIED = 7
TRIED_EACH = 32
_LIKELY = 0.75  # chance of the first token, from which on that is so
_HOPELESS = 0.02  # one that no row is cheap enough for
# Acceptance is counted apart for what agrees with few and with many of the last tokens, and for
# what it is copied from.
_AGREEMENTS = (4, 6, 8, 12, 20, 32)
_FIRST_GUESSES = {
    Origin.PREDICTION: (0.3, 0.45, 0.6, 0.75, 0.85, 0.92, 0.97),
    Origin.TEXT: (0.3, 0.45, 0.6, 0.75, 0.85, 0.92, 0.97),
    Origin.RECENT: (0.3, 0.45, 0.6, 0.75, 0.85, 0.92, 0.97),
}
_GUESS_WEIGHT = 8.0  # drafted tokens that a first guess counts as
_MEMORY = 0.995  # of what was seen, a drafted token ago


class _Record:
    """How often drafts from one origin were right, by how much they agreed with."""

    __slots__ = ("_accepted", "_drafted", "chances")

    def __init__(self, guesses: tuple[float, ...]) -> None:
        self._drafted = [_GUESS_WEIGHT] * len(guesses)
        self._accepted = [_GUESS_WEIGHT * guess for guess in guesses]
        # For each agreement, and one more for all that are greater than the greatest bound.
        self.chances = [guesses[_kind(agreement)] for agreement in range(_AGREEMENTS[-1] + 1)]

    def learn(self, agreement: int, *, right: bool) -> None:
        """A token that agreed with so many was drafted."""
        kind = _kind(agreement)
        self._drafted[kind] = _MEMORY * self._drafted[kind] + 1
        self._accepted[kind] = _MEMORY * self._accepted[kind] + right
        first = _AGREEMENTS[kind - 1] if kind else 0
        last = _AGREEMENTS[kind] if kind < len(_AGREEMENTS) else len(self.chances)
        chance = self._accepted[kind] / self._drafted[kind]
        self.chances[first:last] = [chance] * (last - first)


class Drafter:
    """Draws up what is drafted in a step, and learns from what came of it."""

    def __init__(self, costs: StepCosts) -> None:
        self._costs = costs
        self._records = {origin: _Record(guess) for origin, guess in _FIRST_GUESSES.items()}
        self._undrafted = TRIED_EACH  # steps without any, since the last one with some

    def plan(self, drafts: Iterable[tuple[Sequence, Draft]], decoding: int, room: int) -> None:
        """Writes drafts behind the tokens of sequences, and how many into `num_draft`.

        So many sequences decode in the step, and it has room for so many drafted tokens. The drafts
        are current.
        """
        most = MOST if decoding == 1 else MOST_BESIDE
        heap: list[tuple[float, int, _Plan]] = []
        for number, (sequence, draft) in enumerate(drafts):
            sequence.num_draft = 0
            agreement = draft.index.agreement
            if agreement:
                chances = self._records[draft.index.origin].chances
                plan = _Plan(sequence, draft, agreement, chances, most)
                if plan.most > 0:
                    heap.append((-plan.chance(), number, plan))
        plans = [plan for _, _, plan in heap]
        order = _likeliest_first(heap, room)
        count = self._costs.best_drafts(decoding, (chance for chance, _ in order))
        if self._undrafted >= TRIED_EACH and order and order[0][0] >= _LIKELY:
            count = max(count, min(TRIED, len(order)))
        self._undrafted = 0 if count else self._undrafted + 1
        for _, plan in order[:count]:
            plan.count += 1
        for plan in plans:
            if plan.count:
                plan.write()

    def learn(self, draft: Draft, drafted: int, accepted: int) -> None:
        """Of so many drafted tokens so many were right; those behind the first wrong one say
        nothing."""
        agreement = draft.index.agreement  # as it was when they were drafted
        record = self._records[draft.index.origin]
        for place in range(min(accepted + 1, drafted)):
            record.learn(agreement + place, right=place < accepted)
        if draft.index.origin == Origin.PREDICTION:
            draft.count_prediction(drafted, accepted)


class _Plan:
    """What one sequence may draft."""

    __slots__ = ("_agreement", "_chances", "count", "draft", "most", "sequence")

    def __init__(
        self, sequence: Sequence, draft: Draft, agreement: int, chances: list[float], most: int
    ) -> None:
        self.sequence = sequence
        self.draft = draft
        self.count = 0
        # The last token of an answer is not computed, so it is not drafted either.
        self.most = min(most, sequence.max_len - sequence.num_tokens - 1)
        self._agreement = agreement
        self._chances = chances

    def chance(self, place: int = 0) -> float:
        """That the token at this place of the draft is right, if those before are."""
        return self._chances[min(self._agreement + place, len(self._chances) - 1)]

    def write(self) -> None:
        """Writes as many tokens as are planned behind those of the sequence."""
        sequence = self.sequence
        tokens = self.draft.index.propose(self.count)
        sequence.num_draft = len(tokens)
        first = sequence.num_tokens
        sequence.tokens[first : first + len(tokens)] = tokens


def _likeliest_first(heap: list[tuple[float, int, _Plan]], most: int) -> list[tuple[float, _Plan]]:
    """What all plans may draft, up to so many tokens: chances that they are right, and whose.

    `heap`: the chance of each plan's first token, negative.
    """
    heapify(heap)
    order: list[tuple[float, _Plan]] = []
    places: dict[int, int] = {}
    while heap and len(order) < most and -heap[0][0] > _HOPELESS:
        chance, number, plan = heap[0]
        order.append((-chance, plan))
        place = places[number] = places.get(number, 0) + 1
        if place < plan.most:
            heapreplace(heap, (chance * plan.chance(place), number, plan))
        else:
            heappop(heap)
    return order


def _kind(agreement: int) -> int:
    return sum(agreement >= bound for bound in _AGREEMENTS)
