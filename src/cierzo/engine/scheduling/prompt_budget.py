"""What a step may spend on prompts, and what their tokens cost: more, the deeper they are."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True, slots=True)
class PromptBudget:
    """A cost that a step may have, in seconds; in tokens, while nothing else is known."""

    cost: float
    per_token: float = 1.0
    per_position: float = 0.0  # that a token attends to

    def of(self, start: int, count: int) -> float:
        """What so many tokens cost, of which the first is at position `start`."""
        return count * (self.per_token + self.per_position * (start + count / 2))

    def affordable(self, cost: float, start: int) -> int:
        """How many tokens from `start` on can be had for that; at least 1."""
        first = self.per_token + self.per_position * start
        root = sqrt(first * first + 2 * self.per_position * cost)
        return max(int(2 * cost / (first + root) + _ROUNDING), 1)


_ROUNDING = 1e-6  # of a token
