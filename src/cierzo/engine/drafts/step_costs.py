"""What a drafted token costs: learned from what steps took of late.

Most of a step of decodes is spent on reading the weights, and the keys and values of each sequence.
For a drafted token nothing is read; it costs what is computed for it. So steps are compared that
have as many sequences and different numbers of drafted tokens, on the machine as it is now.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

_BLEND = 0.2  # of a new step, into what is known of steps of its kind
_FADING = 0.995  # of what is known, with each step of another kind
_LEAST_WEIGHT = 0.1  # what weighs less is forgotten
_MOST_WEIGHT = 8.0
# While no steps can be compared, a drafted token costs as if what is read for each sequence took as
# long as computing so many: a guess, and a reason to try.
_FIRST_RATIO = 4.0
_OUTLIER = 4.0  # times as long as expected: somebody else had the processor


@dataclass(slots=True)
class _Known:
    """Steps of one kind."""

    seconds: float
    weight: float


class StepCosts:
    """Seconds of a step of decodes, by its sequences and the tokens that they draft."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], _Known] = {}  # by sequences and drafted tokens
        self._bases: dict[int, float] = {}  # seconds without drafts, by sequences
        self._slope = 0.0  # seconds of a drafted token

    def observe(self, sequences: int, drafted: int, seconds: float) -> None:
        """A step of so many sequences, and of so many drafted tokens of theirs, took so long."""
        kind = sequences, drafted
        known = self._known.get(kind)
        if known is not None and seconds > _OUTLIER * known.seconds and known.weight > 2:
            known.weight /= 2  # once more, and it is no outlier
            return
        for other in self._known.values():
            other.weight *= _FADING
        if known is None:
            self._known[kind] = _Known(seconds, 1.0)
        else:
            known.seconds += _BLEND * (seconds - known.seconds)
            known.weight = min(known.weight + 1, _MOST_WEIGHT)
        self._known = {k: v for k, v in self._known.items() if v.weight > _LEAST_WEIGHT}
        self._fit()

    def seconds(self, sequences: int, drafted: int) -> float:
        """What a step takes; 0 while nothing is known."""
        if not self._bases:
            return 0.0
        nearest = min(self._bases, key=lambda known: abs(known - sequences))
        return self._bases[nearest] + self._slope * drafted

    def pays(self, expected: float, sequences: int, drafted: int, chance: float) -> bool:
        """Whether one more drafted token, right with that chance, makes tokens come faster.

        Without it, so many are drafted, and the step is expected to give so many tokens.
        """
        with_it = (expected + chance) * self.seconds(sequences, drafted)
        return with_it > expected * self.seconds(sequences, drafted + 1)

    def _fit(self) -> None:
        """Weighted least squares: one slope, and a base for each number of sequences."""
        groups: dict[int, list[tuple[int, _Known]]] = defaultdict(list)
        for (sequences, drafted), known in self._known.items():
            groups[sequences].append((drafted, known))
        means: dict[int, tuple[float, float]] = {}
        spread = product = most = 0.0
        for sequences, members in groups.items():
            weight = sum(k.weight for _, k in members)
            mean = sum(k.weight * d for d, k in members) / weight
            seconds = sum(k.weight * k.seconds for _, k in members) / weight
            means[sequences] = mean, seconds
            spread += sum(k.weight * (d - mean) ** 2 for d, k in members)
            product += sum(k.weight * (d - mean) * (k.seconds - seconds) for d, k in members)
            most = max(most, seconds / (1 + mean))
        if spread == 0:
            self._slope = min(
                seconds / (_FIRST_RATIO * sequences + mean)
                for sequences, (mean, seconds) in means.items()
            )
        else:
            # It is never free, whatever chance would have it.
            self._slope = max(product / spread, 0.01 * most)
        self._bases = {
            sequences: max(seconds - self._slope * mean, 0.0)
            for sequences, (mean, seconds) in means.items()
        }
