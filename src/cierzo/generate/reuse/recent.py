"""Recent requests, of which the tokens and outlines are kept to compare later ones with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Lock

from cierzo.generate.reuse.outline import Outline
from cierzo.generate.reuse.parting import Parting, Tokens, overlap, parting

MOST_BYTES = 32_000_000  # of all together: some 80 prompts of 100,000 tokens that share nothing
MOST_REQUESTS = 512
_ROUGHLY = 512  # bytes of a request beside its tokens and marks
_MARK = 40  # of a message, or a tool
_LOOKED_AT = 32  # of those that may be the turn before, the latest
_TRIED = 8  # of those that share most
_ALIKE = 0.5  # share of tokens that two prompts of one conversation have in common


@dataclass(eq=False, slots=True)
class Recent:
    """One request whose prompt was read."""

    id: str  # of its answer
    salt: str  # who may compare with it
    session: bytes  # as the client names it; empty if it does not
    prompt: Tokens
    outline: Outline
    answers: Sequence[Tokens] = ()
    shares_tokens: bool = False  # the prompt is the beginning of a later request's

    @property
    def nbytes(self) -> int:
        """What it takes, roughly."""
        marks = len(self.outline.messages) + len(self.outline.tools)
        tokens = 0 if self.shares_tokens else self.prompt.nbytes
        return _ROUGHLY + _MARK * marks + tokens + sum(a.nbytes for a in self.answers)


@dataclass(frozen=True, slots=True)
class Compared:
    """An earlier request, and where a new one parts from it."""

    earlier: Recent
    parting: Parting


class RecentRequests:
    """Belongs to a server, and is bounded: who comes first goes first. For several threads."""

    def __init__(self, most_bytes: int = MOST_BYTES, most_requests: int = MOST_REQUESTS) -> None:
        self._most_bytes = most_bytes
        self._most_requests = most_requests
        self._kept: OrderedDict[tuple[str, str], Recent] = OrderedDict()  # by salt and id
        self._bytes = 0
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        """What all of them take, roughly."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, request: Recent, before: Recent | None = None) -> None:
        """Remembers a request. What is the beginning of it in `before` takes no more room."""
        with self._lock:
            self._drop((request.salt, request.id))
            self._kept[request.salt, request.id] = request
            self._bytes += request.nbytes
            if before is not None and self._kept.get((before.salt, before.id)) is before:
                self._share(before, request)
            while len(self._kept) > self._most_requests or self._bytes > self._most_bytes:
                self._drop(next(iter(self._kept)))

    def forget(self, salt: str) -> None:
        """Forgets all requests of this salt."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == salt]:
                self._drop(key)

    def compared(self, new: Recent, id: str | None = None) -> Compared | None:
        """What the request shares with that of this id, or else with the one before it in its
        conversation. None if there is none."""
        with self._lock:
            if id is not None:
                named = self._kept.get((new.salt, id))
                earlier = [named] if named else []
            else:
                latest = reversed(self._kept.values())
                earlier = [kept for kept in latest if kept.salt == new.salt]
        if id is None:
            related = (kept for kept in earlier if _may_precede(kept, new))
            earlier = list(islice(related, _LOOKED_AT))
        found = [Compared(it, parting(it.prompt, it.answers, new.prompt)) for it in earlier]
        # The same session first, then who shares most; of equals the latest.
        found.sort(key=lambda it: (not _is_named(it.earlier, new), -it.parting.common))
        if id is not None:
            return found[0] if found else None
        return next((compared for compared in found[:_TRIED] if _is_alike(compared, new)), None)

    def _share(self, before: Recent, request: Recent) -> None:
        size = len(before.prompt)
        if before.shares_tokens or size > len(request.prompt):
            return
        if (request.prompt[:size] == before.prompt).all():
            self._bytes -= before.nbytes
            before.prompt, before.shares_tokens = request.prompt[:size], True
            self._bytes += before.nbytes

    def _drop(self, key: tuple[str, str]) -> None:
        dropped = self._kept.pop(key, None)
        if dropped is not None:
            self._bytes -= dropped.nbytes


def _may_precede(earlier: Recent, new: Recent) -> bool:
    """Whether they look like turns of one conversation.

    Sessions that clients name may hold several conversations, so a name alone is not enough.
    """
    old, now = earlier.outline, new.outline
    if not now.messages:
        return not old.messages and _is_named(earlier, new)  # evaluations send many alike
    if old.first is not None and old.first == now.first:
        return True
    if _mostly_in_place(old, now):
        return True
    return _is_named(earlier, new) and not old.said.isdisjoint(now.said)


def _is_named(earlier: Recent, new: Recent) -> bool:
    """Whether the client says that they are of one session."""
    return bool(new.session) and new.session == earlier.session


def _mostly_in_place(old: Outline, now: Outline) -> bool:
    """Whether half of what was said is still said in the same place, the last of it too."""
    last = len(old.messages) - 1
    if last < 1 or len(now.messages) <= last or now.messages[last] != old.messages[last]:
        return False
    same = sum(a == b for a, b in zip(old.messages, now.messages, strict=False) if a in old.said)
    return same * 2 >= len(old.said)


def _is_alike(found: Compared, new: Recent) -> bool:
    """Whether two requests are turns of one conversation, rather than, say, a question for its
    title beside it, with instructions of its own."""
    earlier = found.earlier
    if not new.outline.messages:
        shortest = min(len(earlier.prompt), len(new.prompt))
        return found.parting.common * 2 >= shortest
    if earlier.outline.system == new.outline.system:
        return True
    return overlap(earlier.prompt, new.prompt) >= _ALIKE
