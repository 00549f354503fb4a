"""One request, watched for what it could have reused: looked at while the engine computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cierzo.generate.ask import Prompt
from cierzo.generate.reuse.diagnosis import Cause, Diagnosis, Miss
from cierzo.generate.reuse.explain import explained, is_new_question
from cierzo.generate.reuse.outline import outline_of
from cierzo.generate.reuse.parting import packed
from cierzo.generate.reuse.recent import Compared, Recent, RecentRequests

_BLOCK = 32  # tokens: the last block of a path may be gone alone


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What is to be known of a request, in nobody's protocol."""

    id: str  # of its answer
    prompt: Prompt
    tokens: Sequence[int]  # of the prompt
    cache_salt: str = ""
    retain: bool = True  # whether anything of it may be kept
    session: bytes = b""  # as the client names it
    compare_with: str | None = None  # the id of an earlier answer; None: the one before it
    quotes: bool = True  # whether who asks may be told words of the earlier request


@dataclass
class Watch:
    """First `look`, in a thread; then, when the answer has ended, `diagnose`."""

    watched: Watched
    recent: RecentRequests
    spell: Sequence[bytes]  # the bytes of every token
    answers: dict[int, list[int]] = field(default_factory=dict)  # tokens of each choice
    diagnosis: Diagnosis | None = None  # once it is known
    _request: Recent | None = None
    _compared: Compared | None = None
    _miss: Miss | None = None

    def take(self, choice: int, tokens: Sequence[int]) -> None:
        """A choice has gone on by these."""
        self.answers.setdefault(choice, []).extend(tokens)

    def look(self) -> None:
        """Finds the earlier request, and where this one parts from it. Slow for a long prompt."""
        watched = self.watched
        outline = outline_of(watched.prompt)
        tokens = packed(watched.tokens)
        request = Recent(watched.id, watched.cache_salt, watched.session, tokens, outline)
        found = self._compared = self.recent.compared(request, watched.compare_with)
        if found is not None and found.parting.missed > 0:
            miss = explained(found, watched.prompt, outline, tokens, self.spell)
            if not watched.quotes:
                miss = replace(miss, place=replace(miss.place, before=""))
            if watched.compare_with is not None or not is_new_question(miss, outline):
                self._miss = miss
        self._request = request

    def diagnose(self, cached: int) -> Diagnosis:
        """What became of it: `cached` tokens of the prompt were found."""
        self.diagnosis = self._diagnosis(cached)
        return self.diagnosis

    def keep(self) -> None:
        """Keeps it for later requests to be compared with, if that may be."""
        if self._request is None or not self.watched.retain:
            return
        answers = [packed(tokens) for tokens in self.answers.values() if tokens]
        self._request.answers = answers
        self.recent.keep(self._request, self._compared.earlier if self._compared else None)

    def _diagnosis(self, cached: int) -> Diagnosis:
        found = self._compared
        if found is None:
            return Diagnosis(None, 0, cached)
        parting = found.parting
        expected = parting.common if self._miss is None else parting.reusable
        lost = max(0, expected - cached)
        misses = []
        # Others may have left what was expected. Who names a request wants to know all the same.
        if self._miss is not None and (lost or self.watched.compare_with is not None):
            misses.append(self._miss)
        if parting.common - cached >= _BLOCK:
            misses.append(Miss(Cause.NOT_KEPT, parting.common - cached))
        return Diagnosis(found.earlier.id, parting.kept, cached, lost, tuple(misses))
