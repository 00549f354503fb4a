"""What a step of decodes takes by how many rows it has: a line through what steps took of late.

Most of such a step is spent on reading the weights, whatever the number of rows; each row adds what
is computed for it. Both are learned from the steps themselves, on the machine as it is now.
"""

from __future__ import annotations

from dataclasses import dataclass

_BLEND = 0.2  # of a new step, into what is known of steps of its size
_FADING = 0.995  # of what is known, with each step of another size
_LEAST_WEIGHT = 0.1  # what weighs less is forgotten
_MOST_WEIGHT = 8.0
# While steps of one size only are known, a row costs as if reading the weights took as long as
# computing so many: a guess, and a reason to try.
_FIRST_RATIO = 4.0
_OUTLIER = 4.0  # times as long as expected: somebody else had the processor


@dataclass(slots=True)
class _Known:
    """Steps of one number of rows."""

    seconds: float
    weight: float


class StepCosts:
    """Seconds of a step of decodes, as a line over its rows."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}  # by rows
        self._base = 0.0  # seconds of a step; 0 while unknown
        self._slope = 0.0  # seconds of a row

    def observe(self, rows: int, seconds: float) -> None:
        """A step of so many rows, all of them with logits, took so long."""
        known = self._known.get(rows)
        if known is not None and seconds > _OUTLIER * known.seconds and known.weight > 2:
            known.weight /= 2  # once more, and it is no outlier
            return
        for other in self._known.values():
            other.weight *= _FADING
        if known is None:
            self._known[rows] = _Known(seconds, 1.0)
        else:
            known.seconds += _BLEND * (seconds - known.seconds)
            known.weight = min(known.weight + 1, _MOST_WEIGHT)
        self._known = {r: k for r, k in self._known.items() if k.weight > _LEAST_WEIGHT}
        self._fit()

    def seconds(self, rows: int) -> float:
        """What a step of so many rows takes; 0 while nothing is known."""
        return self._base + self._slope * rows

    def pays(self, expected: float, rows: int, chance: float) -> bool:
        """Whether one more row, which gives a token with that chance, makes tokens come faster.

        The step has `rows` without it, and is expected to give so many tokens.
        """
        with_it = (expected + chance) * self.seconds(rows)
        return with_it > expected * self.seconds(rows + 1)

    def _fit(self) -> None:
        """Weighted least squares."""
        weight = sum(k.weight for k in self._known.values())
        rows = sum(k.weight * r for r, k in self._known.items()) / weight
        seconds = sum(k.weight * k.seconds for k in self._known.values()) / weight
        spread = sum(k.weight * (r - rows) ** 2 for r, k in self._known.items())
        if spread == 0:
            self._slope = seconds / (_FIRST_RATIO + rows)
        else:
            product = sum(
                k.weight * (r - rows) * (k.seconds - seconds) for r, k in self._known.items()
            )
            # A row is never free, whatever chance would have it.
            self._slope = max(product / spread, 0.01 * seconds / rows)
        self._base = max(seconds - self._slope * rows, 0.0)
