"""What drafts are copied from besides a request's own words: texts of earlier turns, and answers.

A session's next turn begins with all of its last one, which is therefore not read again. Answers
are the likelier to come again in other sessions, the later they were given: the same file is
written, the same command is called. Who has another `cache_salt` sees nothing of either, not even
in how fast its answer comes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cierzo import _native
from cierzo.engine.drafts.draft import Draft
from cierzo.engine.sequence import Sequence

# Texts of sequences that have ended, of all salts: 25 bytes a token, some thousandths of what
# their keys and values take.
MOST_TEXTS = 64
MOST_TEXT_BYTES = 48 << 20
SHORTEST_TEXT = 512  # tokens; what is shorter is read anew in no time
# Answers of one salt, and salts, the one used last before all others: 1.3 MB each.
RECENT_TOKENS = 1 << 16
MOST_SALTS = 8
SHORTEST_ANSWER = 16
ROOM_FOR_ANSWER = 4_096  # tokens, without moving the text


@dataclass(frozen=True, slots=True)
class _Kept:
    """A text, and who may see it."""

    salt: str
    text: _native.TokenLog


class Sources:
    """Keeps them, as many as there is room for. Those used longest ago go first."""

    def __init__(self, *, drafts: bool, keep: bool) -> None:
        """Unless `drafts`, nobody has any; unless `keep`, every request has its own words alone."""
        self._drafts = drafts
        self._keep = drafts and keep
        self._texts: list[_Kept] = []  # the one left last at the end
        self._recent: OrderedDict[str, _native.TokenLog] = OrderedDict()

    def draft_for(self, sequence: Sequence, predicted: npt.NDArray[np.int32]) -> Draft | None:
        """What a new sequence has to copy from. It has the text that it continues to itself."""
        if not self._drafts:
            return None
        text = self._continued(sequence)
        if text is None:
            text = _native.TokenLog()
        text.reserve(min(sequence.max_len, sequence.num_prompt + ROOM_FOR_ANSWER))
        sequence.num_unchanged = len(text)
        return Draft(predicted, text, self._recent_of(sequence.cache_salt))

    def leave(self, draft: Draft | None, sequence: Sequence) -> None:
        """A sequence has ended: its text and answer are for others from now on."""
        if draft is None or not self._keep or not sequence.retain:
            return
        answer = sequence.tokens[sequence.num_prompt : sequence.num_tokens]
        draft.follow(sequence, len(answer))
        if len(answer) >= SHORTEST_ANSWER:
            recent = self._recent_of(sequence.cache_salt)
            recent.extend(answer)
            recent.end_text()
        if len(draft.text) >= SHORTEST_TEXT:
            self._texts.append(_Kept(sequence.cache_salt, draft.text))
            self._bound_texts()

    def clear(self, salt: str) -> None:
        """Forgets what requests with that salt have left."""
        self._texts = [kept for kept in self._texts if kept.salt != salt]
        if salt in self._recent:
            self._recent.pop(salt).clear()  # running sequences copy from it, too

    @property
    def num_bytes(self) -> int:
        """Memory that is held."""
        return sum(kept.text.bytes for kept in self._texts) + sum(
            recent.bytes for recent in self._recent.values()
        )

    def _continued(self, sequence: Sequence) -> _native.TokenLog | None:
        """Takes the text out that the prompt goes on from, cut to what they share.

        Not where they share little of it: another session may go on from there. And a request that
        must leave nothing takes nothing away.
        """
        if not sequence.retain:
            return None
        prompt = sequence.tokens[: sequence.num_prompt]
        shared = [
            kept.text.common(prompt) if kept.salt == sequence.cache_salt else 0
            for kept in self._texts
        ]
        most = max(shared, default=0)
        if most == 0:
            return None
        place = shared.index(most)
        text = self._texts[place].text
        if len(text) - most > most // 8:
            return None
        del self._texts[place]
        text.truncate(most)
        return text

    def _recent_of(self, salt: str) -> _native.TokenLog:
        recent = self._recent.setdefault(salt, _native.TokenLog(RECENT_TOKENS))
        self._recent.move_to_end(salt)
        while len(self._recent) > MOST_SALTS:
            self._recent.popitem(last=False)
        return recent

    def _bound_texts(self) -> None:
        num_bytes = sum(kept.text.bytes for kept in self._texts)
        while num_bytes > MOST_TEXT_BYTES or len(self._texts) > MOST_TEXTS:
            num_bytes -= self._texts.pop(0).text.bytes
