"""What texts lately became: an agent sends its whole history each time, and adds a little.

Each tenant has entries of its own. Or the time that a prompt takes to be encoded would tell whether
somebody else sent the same file before.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from sys import getsizeof
from threading import Lock

MOST_BYTES = 48 << 20  # texts, tokens and books of all entries: some 40 full contexts
_ENTRY_BYTES = 400  # that an entry takes besides its texts and tokens

Key = tuple[Hashable, ...]


class Recent:
    """Tokens by the tenant's salt and what they were made of, of which the latest used are kept.

    For several threads.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        # By the key's hash, which is taken once: that of a long key costs more than all else.
        self._kept: OrderedDict[int, tuple[Key, array[int], int]] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return self._size

    def get(self, key: Key) -> array[int] | None:
        """What became of it, if it is still known. Not to be changed."""
        name = hash(key)
        with self._lock:
            found = self._kept.get(name)
            if found is None or found[0] != key:
                return None
            self._kept.move_to_end(name)
        return found[1]

    def forget(self, salt: str) -> None:
        """Drops all that a tenant has."""
        with self._lock:
            for name in [name for name, (key, _, _) in self._kept.items() if key[0] == salt]:
                self._size -= self._kept.pop(name)[2]

    def put(self, key: Key, ids: array[int], texts: Iterable[str]) -> None:
        """Keeps what became of these texts, which the key has in it."""
        size = _ENTRY_BYTES + getsizeof(ids) + sum(map(getsizeof, texts))
        if size > self._most // 4:  # it would push out the others
            return
        name = hash(key)
        with self._lock:
            if name in self._kept:  # which is the same, or as good
                return
            self._kept[name] = key, ids, size
            self._size += size
            while self._size > self._most:
                self._size -= self._kept.popitem(last=False)[1][2]


class RecentOf:
    """A tenant's own entries of those that all share the room of."""

    def __init__(self, recent: Recent, salt: str) -> None:
        self._recent = recent
        self._salt = salt

    def get(self, *key: Hashable) -> array[int] | None:
        """What became of it, if it is still known. Not to be changed."""
        return self._recent.get((self._salt, *key))

    def put(self, key: Key, ids: array[int], texts: Iterable[str]) -> None:
        """Keeps what became of these texts, which the key has in it."""
        self._recent.put((self._salt, *key), ids, texts)
