"""Which block goes when room is needed: of the leaves that nobody needs, the one worth least.

A block is worth the more the later it was used, and the sooner its session is likely to go on: of
357,161 recorded calls of coding agents, those that bring a tool's result came 0.3 s after the last
one (median), those that bring a person's word 86 s (TraceLab, arXiv 2606.30560).
`benchmarks/cache_replay.py` compares the rule with others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TypeAlias

from cierzo.engine.cache.prefix_tree import Node
from cierzo.engine.sequence import Sequence

# What a node is worth that a sequence has just left.
Worth: TypeAlias = Callable[[Node, Sequence], float]

# What waits for a person counts as if it had been used so much earlier.
PERSON_SECONDS = 300.0
# What is said to be asked again for longer than clients usually say counts as used later; but it
# is no lock, so an hour counts like a day.
_USUAL_SECONDS, _LONGEST_SECONDS = 300.0, 3_600.0
REPLACED = -math.inf  # what a session does not need any more: see `sessions.py`


def by_time(node: Node, sequence: Sequence) -> float:
    """When it was used, in seconds, and how much sooner or later it may be asked again."""
    return time.monotonic() + delay(sequence)


def delay(sequence: Sequence) -> float:
    """How much later than it was what a sequence leaves counts as used."""
    hinted = min(max(sequence.hints.seconds, _USUAL_SECONDS), _LONGEST_SECONDS) - _USUAL_SECONDS
    return hinted - (0.0 if sequence.calls_tool else PERSON_SECONDS)


_Entry: TypeAlias = tuple[float, int, Node]  # what the node is worth, and a number


class EvictionQueue:
    """Leaves that no running sequence needs."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []  # those of nodes used since are void
        self._serial = count()  # of equals, the one that was left first goes first

    def push(self, leaf: Node) -> None:
        """The leaf may go."""
        heappush(self._heap, (leaf.worth, next(self._serial), leaf))

    def pop(self) -> Node | None:
        """The leaf that goes; None if there is none."""
        node = self.first()
        if node is not None:
            heappop(self._heap)
        return node

    def first(self) -> Node | None:
        """The leaf that would go."""
        while self._heap and not _holds(self._heap[0]):
            heappop(self._heap)
        return self._heap[0][2] if self._heap else None

    def leaves(self) -> set[Node]:
        """All that may go."""
        return {entry[2] for entry in self._heap if _holds(entry)}

    def compact(self, num_nodes: int) -> None:
        """Forgets void entries, if there are many beside that number of nodes."""
        if len(self._heap) > 2 * num_nodes + 64:
            entries = {entry[2]: entry for entry in self._heap if _holds(entry)}
            self._heap = list(entries.values())
            heapify(self._heap)


def goes_first(cheap: Node, old: Node, share: float, now: float) -> bool:
    """Whether a leaf that is cheap to get back goes before one that is worth less by its time: it
    costs that share of what the other one does. What was used twice as long ago is taken to be half
    as likely to be wanted in the next moment."""
    if old.worth == REPLACED:
        return False
    return max(now - cheap.worth, 1.0) >= share * max(now - old.worth, 1.0)


def _holds(entry: _Entry) -> bool:
    worth, _, node = entry
    return worth == node.worth and may_go(node)


def may_go(node: Node) -> bool:
    """Whether it is a leaf of the tree that no running sequence needs."""
    return node.pins == 0 and not node.children and node.in_tree and node.parent is not None
