"""What a step may spend on prompts: enough to be read fast, few enough to keep it short.

The length of a step is how long everyone else's next token and a newcomer must wait. What a step
takes is learned (`StepCosts`), so it is known how fast a prompt is read in pieces of any size, and
what each size does to those who decode. This never changes a result, since results do not depend on
how a prompt is cut.

With few tokens a step is mostly spent on reading the weights, which it does in any case: for
Devstral's geometry one that has eleven tokens of a prompt beside a decode takes 2.4 times as long
as one without, and the prompt is read at four fifths of full speed. So a prompt is read in pieces
that are small where the model is large.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from cierzo.engine.scheduling.prompt_budget import PromptBudget
from cierzo.engine.step_costs import KNOTS, StepCosts, Work

# To make a step shorter still is of little use, and what is known of how fast each size is may be
# wrong by as much as others on the machine disturb.
QUICK_SECONDS = 0.1  # beside those who decode
SHORT_SECONDS = 0.2  # where nobody does; a step that nobody minds
LONG_SECONDS = 1.0  # one that a newcomer may have to wait for, where nobody decodes
LONGEST_SECONDS = 4.0  # not even for the sake of efficiency
MOST_SLOWDOWN = 2.4  # of those who decode, where a step is not short even so
# Shares of the speed at which prompts are read fastest: all of it but for what can be spared, and
# what is enough where steps are long.
FULL_SPEED = 0.97
HIGH_SPEED = 0.9
FIRST_TOKENS = 16  # while nothing is known
_SIZES = {
    *KNOTS,
    *((one + other) // 2 for one, other in pairwise(KNOTS)),
}  # of steps to choose from


class StepBudget:
    """Chooses among numbers of tokens at which what a step takes is known best."""

    def __init__(self, max_batch_tokens: int, costs: StepCosts) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._costs = costs

    @property
    def seconds_per_token(self) -> float:
        """What a token of a prompt takes where nobody decodes; 0 while unknown."""
        if not self._costs.known:
            return 0.0
        tokens = self._alone(0.0)
        return self._seconds(Work(logits=False), tokens, 0.0) / tokens

    def prompt_budget(self, decodes: Work, depth: int) -> PromptBudget:
        """What the next step may spend on prompts, beside what decodes: as much as the best number
        of tokens costs that attend to about `depth` positions."""
        if not self._costs.known:
            return PromptBudget(min(FIRST_TOKENS, self._max_batch_tokens))
        tokens = self.tokens(decodes, depth)
        per_token = self._seconds(Work(logits=False), tokens, 0.0) / tokens
        unit = PromptBudget(0.0, per_token, self._costs.seconds_per_position)
        return replace(unit, cost=unit.of(depth, tokens))

    def tokens(self, decodes: Work, depth: float) -> int:
        """The best number of tokens of prompts for the next step, at least 1."""
        alone = self._alone(depth)
        if decodes.sequences == 0:
            return alone
        best = alone / self._seconds(Work(logits=False), alone, depth)
        limit = max(SHORT_SECONDS, MOST_SLOWDOWN * self._costs.seconds(decodes))
        choices = []
        for tokens in self._candidates(decodes.rows):
            seconds = self._seconds(decodes, tokens, depth)
            choices.append((tokens, seconds, tokens / seconds / best))
        quick = max(
            (tokens for tokens, seconds, _ in choices if seconds <= QUICK_SECONDS), default=1
        )
        for tokens, seconds, speed in choices:
            wanted = FULL_SPEED if seconds <= SHORT_SECONDS else HIGH_SPEED
            if speed >= wanted and seconds <= limit:
                return max(tokens, quick)
        within = [(speed, tokens) for tokens, seconds, speed in choices if seconds <= limit]
        return max(within)[1] if within else choices[0][0]

    def _alone(self, depth: float) -> int:
        """Tokens of a step in which nobody decodes."""
        choices = []
        for tokens in self._candidates(0):
            seconds = self._seconds(Work(logits=False), tokens, depth)
            choices.append((tokens, seconds, tokens / seconds))
        best = max(speed for _, _, speed in choices)
        short = max(
            (tokens for tokens, seconds, _ in choices if seconds <= SHORT_SECONDS), default=1
        )
        for wanted, limit in ((FULL_SPEED, LONG_SECONDS), (HIGH_SPEED, LONGEST_SECONDS)):
            for tokens, seconds, speed in choices:
                if speed >= wanted * best and seconds <= limit:
                    return max(tokens, short)
        return max(
            (tokens for tokens, seconds, _ in choices if seconds <= LONGEST_SECONDS), default=1
        )

    def _seconds(self, decodes: Work, tokens: int, depth: float) -> float:
        work = Work(
            decodes.sequences,
            decodes.drafted,
            decodes.context,
            tokens,
            tokens * (depth + tokens / 2),
            decodes.logits,
        )
        return max(self._costs.seconds(work), 1e-9)

    def _candidates(self, rows: int) -> list[int]:
        """Numbers of tokens that fill a step up to a knot, or halfway to the next."""
        room = max(self._max_batch_tokens - rows, 1)
        candidates = {min(size - rows, room) for size in _SIZES if size > rows}
        return sorted(candidates | {1, room})
