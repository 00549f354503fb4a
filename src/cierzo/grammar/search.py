"""Where to try again, when a finished value turns out to be invalid.

A value is a row of tokens, and some of them were choices: the mask allowed another one. `Search`
says to which choice to go back. Whoever holds the tokens bans the token that stood there (as long
as what comes before it stays the same), drops what follows, and goes on sampling:

    search = Search(budget=256)
    ...                                  # a checked value is complete; the verifier objects
    at = search.rewind(choices, violation.start, violation.end, length)
    if at is None: ...                   # the budget is spent, or no choice is left: an error
    elif at == RESTART: ...              # drop the whole value, and forget all bans
    else: ...                            # ban the token of choices[at]; drop it and what follows

`choices` are the byte offsets, in the value, at which those tokens begin that could still be
others (allowed by the mask and not yet banned there), in order; a token that also covers bytes
before the value has a negative offset. The same calls always give the same answers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

RESTART: Final = -1


class Search:
    """One value's search. It ends after `budget` rewinds, or `max_bytes` bytes thrown away."""

    def __init__(self, budget: int = 256, max_bytes: int = 1 << 20) -> None:
        self.rewinds = 0
        self.thrown_away = 0
        self._budget = budget
        self._max_bytes = max_bytes
        self._frontier = -1  # where the furthest violation began
        self._tries = 0  # at that frontier
        self._whole = False  # whether the whole span was tried again there
        self._jumped = False  # whether anything was passed over
        self._thorough = False  # whether nothing is passed over any more

    def rewind(self, choices: Sequence[int], start: int, end: int, length: int) -> int | None:
        """The index in `choices` to go back to, or RESTART; None if the search is over.

        `start` and `end` are the span at fault, and `length` is that of the text that was written.
        """
        useful = bisect_left(choices, end)
        if self.rewinds >= self._budget or self.thrown_away >= self._max_bytes:
            return None
        if useful == 0:
            return self._restart(length)
        if start > self._frontier:
            self._frontier, self._tries, self._whole = start, 0, False
        self._tries += 1
        at = max(useful - self._distance(useful - bisect_left(choices, start)), 0)
        self._jumped |= at < useful - 1
        self.rewinds += 1
        self.thrown_away += max(length - choices[at], 0)
        return at

    def _restart(self, length: int) -> int | None:
        """Begin again where jumps passed over what few values there are, this time without any."""
        if not self._jumped or self._thorough:
            return None
        self._thorough = True
        self.rewinds += 1
        self.thrown_away += length
        return RESTART

    def _distance(self, inside: int) -> int:
        """How many choices to go back, where `inside` of them lie in the span.

        Most tries are near the end of the span, where the least is lost, but the far ones double
        and double again: a fault may come from a choice that was made long before.
        """
        if self._thorough:
            return 1
        distance = luby(self._tries) ** 2
        if distance > 1 and not self._whole and inside > 0:
            self._whole = True
            return inside
        return distance


def luby(number: int) -> int:
    """The term of 1, 1, 2, 1, 1, 2, 4, ...: the best mixture when the right one is unknown."""
    while number & (number + 1):
        number -= (1 << (number.bit_length() - 1)) - 1
    return (number + 1) >> 1
