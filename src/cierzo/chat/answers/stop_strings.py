"""Finds stop strings in text that comes in pieces: the automaton of Aho and Corasick (1975)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """A stop string, and where it ends in the piece that completed it."""

    text: str
    end: int


class StopStrings:
    """Feeds on text, a few character steps each, whatever the number of strings."""

    def __init__(self, strings: Sequence[str]) -> None:
        """Raises ValueError for an empty string, which would stop before anything is said."""
        if not all(strings):
            raise ValueError("a stop string must not be empty")
        self._next: list[dict[str, int]] = [{}]  # state, character -> longer state
        self._depth = [0]  # how many characters of some string a state stands for
        self._match: list[str | None] = [None]
        for text in strings:
            state = 0
            for character in text:
                state = self._child(state, character)
            self._match[state] = text
        self._fail = self._links()
        self._state = 0

    @property
    def pending(self) -> int:
        """How many of the last characters may be the beginning of a stop string."""
        return self._depth[self._state]

    def find(self, text: str) -> Found | None:
        """The first stop string that this text completes, the longest that ends there."""
        state = self._state
        for index, character in enumerate(text):
            while state and character not in self._next[state]:
                state = self._fail[state]
            state = self._next[state].get(character, 0)
            match = self._match[state]
            if match is not None:
                self._state = state
                return Found(match, index + 1)
        self._state = state
        return None

    def _child(self, state: int, character: str) -> int:
        child = self._next[state].get(character)
        if child is None:
            child = self._next[state][character] = len(self._next)
            self._next.append({})
            self._depth.append(self._depth[state] + 1)
            self._match.append(None)
        return child

    def _links(self) -> list[int]:
        """For each state the longest other one that its text ends with, breadth first."""
        fail = [0] * len(self._next)
        queue = deque(self._next[0].values())
        while queue:
            state = queue.popleft()
            for character, child in self._next[state].items():
                queue.append(child)
                back = fail[state]
                while back and character not in self._next[back]:
                    back = fail[back]
                fail[child] = self._next[back].get(character, 0)
            if self._match[state] is None:
                self._match[state] = self._match[fail[state]]
        return fail
