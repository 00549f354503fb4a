"""Where the tokens of two prompts part."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Tokens: TypeAlias = npt.NDArray[np.int32]

_FIRST_LOOK = 256  # tokens; most prompts that differ do so at once
_GROWTH = 16


def packed(tokens: Sequence[int]) -> Tokens:
    """The tokens as an array."""
    return np.frombuffer(array("i", tokens), np.int32)


def shared(one: Tokens, other: Tokens) -> int:
    """How many first tokens are the same."""
    end, at, size = min(len(one), len(other)), 0, _FIRST_LOOK
    while at < end:
        differ = one[at : min(at + size, end)] != other[at : min(at + size, end)]
        if differ.any():
            return at + int(differ.argmax())
        at, size = at + size, size * _GROWTH
    return end


def overlap(one: Tokens, other: Tokens) -> float:
    """How many tokens are in both, wherever they are, as a share of the longer one's."""
    longest = max(len(one), len(other))
    if not longest:
        return 1.0
    size = 1 + max(int(tokens.max(initial=0)) for tokens in (one, other))
    counts = [np.bincount(tokens, minlength=size) for tokens in (one, other)]
    return float(np.minimum(*counts).sum()) / longest


@dataclass(frozen=True, slots=True)
class Parting:
    """What a new prompt shares with an earlier request, its answer included."""

    common: int  # first tokens that are the same; the last one of a prompt does not count
    reusable: int  # as many as there would be, had the new one gone on where the earlier ended
    answer: int | None  # which of the answers they part in; None: before the answers
    kept: int  # tokens of the earlier request that a later one may begin from

    @property
    def missed(self) -> int:
        """Tokens that are computed again because the prompts part."""
        return self.reusable - self.common


def parting(prompt: Tokens, answers: Sequence[Tokens], new: Tokens) -> Parting:
    """Of the earlier request's prompt and answers, and the new prompt.

    The last token of a request is not in the cache: nothing was computed after it. Nor is the last
    one of the new prompt taken from there.
    """
    most = len(new) - 1
    common, answer = shared(prompt, new), None
    longest = max((len(tokens) for tokens in answers), default=0)
    if common == len(prompt) < len(new):
        rest = new[common:]
        found = [shared(tokens, rest) for tokens in answers]
        if found:
            answer = max(range(len(found)), key=found.__getitem__)
            longest = len(answers[answer])
            common += found[answer]
    kept = len(prompt) + longest - 1
    reusable = min(kept, most)
    return Parting(min(common, reusable), reusable, answer, kept)
