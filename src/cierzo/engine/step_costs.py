"""What a step takes, by what it computes: learned from what steps took of late.

Most of a step of few tokens is spent on reading the weights, and kernels for few tokens are others
than those for many. So seconds follow the number of tokens along a line with bends, which is known
where steps were, and straight elsewhere. What comes on top is in proportion: to the sequences that
decode, to the positions that they attend to, and to those that the tokens of prompts attend to.

Steps of a kind are kept as one, and there are so many kinds at most. What is known is fitted anew
when it is asked for, and not after each step.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

# Tokens of a step between which the line is straight. The CPU's kernels change beyond 16.
KNOTS = (1, 2, 4, 6, 8, 12, 16, 17, 24, 32, 48, 64, 96, 128, 256, 512)
_BLEND = 0.2  # of a new step, into what is known of steps of its kind
_FADING = 0.995  # of what is known, with each step of another kind
_LEAST_WEIGHT, _MOST_WEIGHT = 0.3, 8.0
_MOST_KINDS = 96
_OUTLIER = 4.0  # times as long as others of its kind: somebody else had the processor
_STEPS_A_FIT = 8  # a fit is good for so many steps, and for fewer while little is known
# While nothing else is known, reading the weights takes as long as computing so many tokens, and a
# token at this position costs twice as much as at the first. Guesses, and reasons to try.
_FIRST_RATIO = 4.0
_FIRST_DEPTH = 30_000.0
_STRAIGHT = 1.0  # weight of what was assumed: that there are no bends,
_ASSUMED = 3e-4  # and the guesses
_LEAST_SLOPE = 0.01  # a token is never free, whatever chance would have it


@dataclass(frozen=True, slots=True)
class Work:
    """What a step computes."""

    sequences: int = 0  # that decode
    drafted: int = 0  # tokens that these try ahead
    context: int = 0  # positions that they attend to, in all
    prompt_tokens: int = 0
    prompt_context: float = 0.0  # positions that each of these attends to, added up
    logits: bool = True  # whether any are wanted

    @property
    def rows(self) -> int:
        """Tokens in all."""
        return self.sequences + self.drafted + self.prompt_tokens


_SEQUENCES, _CONTEXT, _PROMPT_CONTEXT, _NO_LOGITS = range(len(KNOTS), len(KNOTS) + 4)
_WIDTH = len(KNOTS) + 4


class StepCosts:
    """Seconds of a step, by its work."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, ...], int] = {}  # of kinds, in the arrays
        self._features = np.zeros((_MOST_KINDS, _WIDTH))
        self._seconds = np.ones(_MOST_KINDS)
        self._weights = np.zeros(_MOST_KINDS)
        self._context = 0  # that decoding sequences attended to in the last step
        self._unfitted = 0  # steps since the last fit
        self._fitted_steps = 0
        self._by_rows: list[float] = []  # seconds of steps of so many tokens
        self._per: dict[int, float] = {}  # what comes on top

    @property
    def known(self) -> bool:
        """Whether any step was seen."""
        return bool(self._places)

    def observe(self, work: Work, seconds: float) -> None:
        """A step took so long."""
        self._context = work.context
        kind = _kind(work)
        place = self._places.get(kind)
        weights = self._weights
        if place is None:
            place = self._new_place(kind)
            self._features[place] = _features(work)
            self._seconds[place] = seconds
            weights[place] = 1.0
        else:
            before = self._seconds[place]
            if seconds > _OUTLIER * before and weights[place] > 2:
                weights[place] /= 2  # once more, and it is no outlier
                return
            weight = weights[place]
            # What is known may be the outlier: a step cannot have been so much faster by chance.
            is_truer = seconds * _OUTLIER < before
            blend = 1.0 if is_truer else max(_BLEND, 1 / (weight + 1))
            self._unfitted += is_truer * _STEPS_A_FIT  # it matters at once
            self._features[place] += blend * (_features(work) - self._features[place])
            self._seconds[place] += blend * (seconds - before)
            weights *= _FADING
            np.maximum(weights, _LEAST_WEIGHT, out=weights, where=weights > 0)
            weights[place] = min(weight + 1, _MOST_WEIGHT)
        self._unfitted += 1

    def seconds(self, work: Work) -> float:
        """What a step takes; 0 while nothing is known."""
        if not self.known:
            return 0.0
        self._refit()
        per = self._per
        total = self._of_rows(work.rows)
        total += per[_SEQUENCES] * work.sequences + per[_CONTEXT] * work.context
        total += per[_PROMPT_CONTEXT] * work.prompt_context
        return total if work.logits else max(total + per[_NO_LOGITS], 0.1 * total)

    @property
    def seconds_per_position(self) -> float:
        """What a token of a prompt takes for each position that it attends to."""
        self._refit()
        return self._per.get(_PROMPT_CONTEXT, 0.0)

    def best_drafts(self, sequences: int, chances: Iterable[float]) -> int:
        """How many drafted tokens make tokens come fastest, beside so many sequences that decode.

        `chances`: that the first of them is right, the second, and so on; 0 while nothing is known.
        All are looked at: where the kernels for few tokens end, one more does not pay, but many do.
        """
        if not self.known:
            return 0
        alone = self.seconds(Work(sequences, 0, self._context))
        beside = alone - self._of_rows(sequences)
        expected = float(sequences)  # tokens that the step gives
        best, speed = 0, expected / max(alone, 1e-9)
        for drafted, chance in enumerate(chances, 1):
            expected += chance
            seconds = beside + self._of_rows(sequences + drafted)
            if expected > speed * seconds:
                best, speed = drafted, expected / seconds
        return best

    def _of_rows(self, rows: int) -> float:
        table = self._by_rows
        if rows < len(table):
            return table[rows]
        return table[-1] + (rows - len(table) + 1) * (table[-1] - table[-2])

    def _new_place(self, kind: tuple[int, ...]) -> int:
        if len(self._places) < _MOST_KINDS:
            place = len(self._places)
        else:
            place = int(self._weights.argmin())
            lost = next(known for known, where in self._places.items() if where == place)
            del self._places[lost]
        self._places[kind] = place
        return place

    def _refit(self) -> None:
        """Weighted least squares of relative errors, held by what is assumed."""
        if self._unfitted < min(_STEPS_A_FIT, self._fitted_steps // 4 + 1):
            return
        self._fitted_steps += self._unfitted
        self._unfitted = 0
        count = len(self._places)
        features, seconds = self._features[:count], self._seconds[:count]
        weights = self._weights[:count]
        relative = features / seconds[:, None]
        # What a token takes, if weights and tokens cost as assumed.
        rows = features[:, : len(KNOTS)] @ _KNOTS
        unit = float(np.average(seconds / (_FIRST_RATIO + rows), weights=weights))
        matrix = (relative.T * weights) @ relative + _ASSUMPTIONS / unit**2
        solution = np.linalg.solve(matrix, relative.T @ weights)
        line = np.maximum.accumulate(np.maximum(solution[: len(KNOTS)], 0.0))
        slope = _LEAST_SLOPE * unit
        by_rows = np.interp(_ROWS, _KNOTS, line) + slope * (_ROWS - 1)
        self._by_rows = by_rows.tolist()
        self._per = {
            place: max(float(solution[place]), 0.0)
            for place in (_SEQUENCES, _CONTEXT, _PROMPT_CONTEXT)
        }
        self._per[_NO_LOGITS] = min(float(solution[_NO_LOGITS]), 0.0)


_KNOTS = np.array(KNOTS, dtype=np.float64)
_ROWS = np.arange(KNOTS[-1] + 1)


def _kind(work: Work) -> tuple[int, ...]:
    """Steps of one kind take about as long."""
    depth = int(work.prompt_context / max(work.prompt_tokens, 1))
    return (
        work.rows if work.rows <= 16 else 16 + bisect_left(KNOTS, work.rows),
        work.sequences if work.sequences <= 8 else 8 + work.sequences.bit_length(),
        (work.context >> 11).bit_length(),
        (depth >> 11).bit_length(),
        work.logits,
    )


def _features(work: Work) -> Vector:
    """What its seconds are a weighted sum of."""
    features = np.zeros(_WIDTH)
    rows = max(work.rows, 1)
    right = min(max(bisect_left(KNOTS, rows), 1), len(KNOTS) - 1)
    left = right - 1
    share = (rows - KNOTS[left]) / (KNOTS[right] - KNOTS[left])
    features[left], features[right] = 1 - share, share
    features[_SEQUENCES] = work.sequences
    features[_CONTEXT] = work.context
    features[_PROMPT_CONTEXT] = work.prompt_context
    features[_NO_LOGITS] = not work.logits
    return features


def _assumptions() -> Vector:
    """Sums of squares that are small where what is assumed holds, in units of a token's time."""
    squares = []

    def assume(weight: float, scale: float, **factors: float) -> None:
        row = np.zeros(_WIDTH)
        for name, factor in factors.items():
            row[int(name[1:])] += factor
        squares.append(weight * np.outer(row, row) / scale**2)

    for i in range(1, len(KNOTS) - 1):
        before, after = KNOTS[i] - KNOTS[i - 1], KNOTS[i + 1] - KNOTS[i]
        short = min(before, after)
        factors = {
            f"_{i - 1}": short / before,
            f"_{i}": -short / before - short / after,
            f"_{i + 1}": short / after,
        }
        assume(_STRAIGHT, _FIRST_RATIO + KNOTS[i], **factors)
    last = len(KNOTS) - 1
    span = KNOTS[last] - KNOTS[0]
    ratio = (_FIRST_RATIO + 1) / span
    assume(_ASSUMED, _FIRST_RATIO + 1, _0=1 + ratio, **{f"_{last}": -ratio})
    for place in (_CONTEXT, _PROMPT_CONTEXT):
        slope = {f"_{last}": -1 / span, "_0": 1 / span, f"_{place}": _FIRST_DEPTH}
        assume(_ASSUMED, 1.0, **slope)
    assume(_ASSUMED, 1.0, **{f"_{_SEQUENCES}": 1.0})
    assume(_ASSUMED, _FIRST_RATIO + 1, **{f"_{_NO_LOGITS}": 1.0})
    total: Vector = np.sum(squares, axis=0)
    return total


_ASSUMPTIONS = _assumptions()
