"""The tokens of texts that were encoded lately: agents send their whole history each time."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from threading import Lock

_SHORTEST = 64  # characters; a shorter text is encoded as quickly as it is found
_MOST_CHARACTERS = 8_000_000  # of all texts: some 20 full contexts, in 30 MB at most


class RecentTexts:
    """Texts and their tokens, of which the latest are kept. For use by several threads."""

    def __init__(self, most_characters: int = _MOST_CHARACTERS) -> None:
        self._most = most_characters
        self._kept: OrderedDict[str, array[int]] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def get(self, text: str) -> list[int] | None:
        """The tokens of a text, if it is still known."""
        if len(text) < _SHORTEST:
            return None
        with self._lock:
            found = self._kept.get(text)
            if found is None:
                return None
            self._kept.move_to_end(text)
        return found.tolist()

    def __setitem__(self, text: str, ids: list[int]) -> None:
        if not _SHORTEST <= len(text) <= self._most // 4:
            return
        packed = array("I", ids)
        with self._lock:
            if text not in self._kept:
                self._size += len(text)
            self._kept[text] = packed
            while self._size > self._most:
                self._size -= len(self._kept.popitem(last=False)[0])
