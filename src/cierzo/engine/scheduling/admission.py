"""Who may take one of a step's places: some are kept for sequences that are soon over.

Or as many long answers as there are places would keep a request of one token waiting for minutes.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from cierzo.engine.sequence import Sequence

# Prompt and answer together: so few are soon over.
SHORT_TOKENS = 512
# One in so many places is kept for the short.
PLACES_PER_SHORT_ONE = 8


def is_short(sequence: Sequence) -> bool:
    """Whether it is soon over."""
    return sequence.max_len <= SHORT_TOKENS


def longest_admissible(running: Iterable[Sequence], places: int) -> float:
    """The most tokens, prompt and answer, of a sequence that may join these; 0 for no place.

    Of the places kept for the short, each further one is for still shorter sequences: so those
    that are nearly as long as allowed do not fill them all. What is held keeps its place from the
    long, but not from the short: it may be held for seconds, and so may all of them.
    """
    lengths = [(sequence.max_len, sequence.held) for sequence in running]
    longest = _longest([length for length, _ in lengths], places)
    if longest >= SHORT_TOKENS:
        return longest
    unheld = _longest([length for length, held in lengths if not held], places)
    return max(longest, min(unheld, SHORT_TOKENS))


def placement_order(sequences: list[Sequence], places: int) -> list[Sequence]:
    """Those that run, in the order in which they are offered a place of the next step.

    They are too many when some were held whose places the short have taken. Then the long wait,
    until as many of the short are over.
    """
    if len(sequences) <= places:
        return sequences
    return sorted(sequences, key=lambda sequence: sequence.max_len)


def _longest(lengths: list[int], places: int) -> float:
    if len(lengths) >= places:
        return 0
    kept = places // PLACES_PER_SHORT_ONE
    for place in range(1, kept + 1):
        bound = place * SHORT_TOKENS // kept
        if sum(length > bound for length in lengths) >= places - place:
            return bound
    return inf
