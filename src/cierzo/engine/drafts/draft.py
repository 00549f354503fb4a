"""One sequence's drafts: where they are copied from, and how far that is known.

They are copied from the sequence's own text, from what the client says the answer will be, or from
answers that others were given of late (`native/runtime/draft_index.h`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cierzo import _native
from cierzo.engine.sequence import Sequence

Origin = _native.DraftIndex.Origin


class Draft:
    """What one sequence may go on with. Its index follows the sequence's tokens."""

    __slots__ = (
        "_has_begun",
        "_num_accepted",
        "_num_rejected",
        "_predicted",
        "_unread",
        "index",
        "text",
    )

    def __init__(
        self,
        predicted: npt.NDArray[np.int32],
        text: _native.TokenLog | None = None,
        recent: _native.TokenLog | None = None,
    ) -> None:
        """`predicted`: what the client says the answer will be. `text`: first tokens of the
        sequence, if they are known already. `recent`: what others were answered."""
        self.text = _native.TokenLog() if text is None else text
        self._predicted = _native.TokenLog()
        self._unread = predicted  # of the prediction
        self.index = _native.DraftIndex(
            self.text, self._predicted, _native.TokenLog() if recent is None else recent
        )
        self._has_begun = False
        self._num_accepted = self._num_rejected = 0  # drafted from the prediction, and not told of

    def count_prediction(self, drafted: int, accepted: int) -> None:
        """Of so many tokens drafted from the prediction so many were right."""
        self._num_accepted += accepted
        self._num_rejected += drafted - accepted

    def news_of_prediction(self) -> tuple[int, int]:
        """Tokens of it that were drafted and right, and that were wrong, since this was asked."""
        news = self._num_accepted, self._num_rejected
        self._num_accepted = self._num_rejected = 0
        return news

    def is_current(self, sequence: Sequence) -> bool:
        """Whether the index knows all tokens of the sequence."""
        return self._has_begun and self.index.length == sequence.num_tokens

    def follow(self, sequence: Sequence, most: int) -> int:
        """Reads up to so many tokens into the index. How many it took."""
        index = self.index
        if sequence.num_unchanged < index.length:
            index.truncate(sequence.num_unchanged)
        sequence.num_unchanged = sequence.num_tokens
        if self._has_begun:
            length = index.length
            index.extend(sequence.tokens, min(sequence.num_tokens, length + most))
            return index.length - length
        return self._begin(sequence, most)

    def _begin(self, sequence: Sequence, most: int) -> int:
        """Reads the prediction and the prompt, and then what follows."""
        taken = min(len(self._unread), most)
        if taken:
            self._predicted.extend(self._unread[:taken])
            self._unread = self._unread[taken:]
        length = self.index.length
        if taken < most:
            end = min(sequence.num_prompt, length + most - taken)
            self.index.extend(sequence.tokens, end)
            taken += max(end - length, 0)
        if len(self._unread) == 0 and self.index.length >= sequence.num_prompt:
            self.index.begin_prediction()
            self._has_begun = True
            if taken < most:
                taken += self.follow(sequence, most - taken)
        return taken
