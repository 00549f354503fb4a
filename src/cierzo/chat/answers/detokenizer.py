"""Tokens to text while they come: whole characters only, and never a part of a stop string."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cierzo.chat.answers.stop_strings import StopStrings
from cierzo.chat.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TokenText:
    """One token of the answer, for log-probabilities.

    `bytes` and `text` are the token's own (a control token's spelling), cut where a stop string
    begins. `offset` counts the characters of the answer before the one that the token begins or
    goes on with. `index` counts tokens from the first that was pushed.
    """

    index: int
    token_id: int
    text: str
    bytes: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class Piece:
    """What may be shown now. Tokens appear once all their text has.

    `after` is what came after the mark, as it came.
    """

    text: str
    stopped: bool = False
    stop_string: str | None = None
    token_texts: tuple[TokenText, ...] = ()
    after: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """Text that a stop string or the mark ends: what stands before it, itself, what follows."""

    before: str
    string: str
    rest: str


class Detokenizer:
    """Turns the tokens of one answer into text, in linear time.

    The pieces together are what `decode` gives for all tokens at once, up to the first stop
    string: the one that is complete first, and of several that end together the longest. What
    could still become a stop string is held back, and so is a character whose bytes are not
    all there. `continues` says that the answer goes on with a text, so that its first space is its
    own even where the tokenizer puts one in front of every text.

    Text ends at a `mark` too, if that is complete before any stop string, or where `pass_mark`
    says. What follows is given out apart from it, and is not searched for stop strings.

    The tokens' own texts are made only where `spell_tokens` asks for them.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: Sequence[str] = (),
        *,
        continues: bool = False,
        mark: str = "",
        spell_tokens: bool = True,
    ) -> None:
        """Raises ValueError for an empty stop string."""
        self._tokenizer = tokenizer
        self._mark = "" if mark in stop else mark
        strings = (*stop, self._mark) if self._mark else tuple(stop)
        self._stops = StopStrings(strings) if strings else None
        self._drop_space = tokenizer.drops_leading_space and not continues
        self._spell_tokens = spell_tokens
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # decoded, and perhaps the beginning of a stop string
        self._shown = 0  # characters given out
        self._tokens: deque[tuple[TokenText, int]] = deque()  # not shown yet, with their end
        self._count = 0
        self._ended = False
        self.past_mark = False

    def push(self, token_ids: Iterable[int]) -> Piece:
        """The next tokens. After a stop string, or after `finish`, there is nothing more."""
        new: list[str] = []
        after: list[str] = []
        for token_id in token_ids:
            if self._ended:
                break
            data = self._tokenizer.token_bytes(token_id)
            control = self._tokenizer.is_control(token_id)
            visible = b"" if control else data
            if self._drop_space and visible:
                visible = visible.removeprefix(b" ")
                self._drop_space = False
            before = self._shown + len(self._held)
            text = self._decoder.decode(visible)
            if self._spell_tokens:
                own = data if control else visible
                spelled = own.decode("utf-8", "replace")
                token = TokenText(self._count, token_id, spelled, own, before)
                self._tokens.append((token, before + len(text)))
                self._count += 1
            if self.past_mark:
                after.append(text)
                continue
            taken = self._take(text)
            if isinstance(taken, str):
                new.append(taken)
                continue
            if taken.string != self._mark:
                return self._stop("".join(new), taken)
            new.append(taken.before)
            after.append(taken.rest)
            self._held = ""
            self.past_mark = True
        tokens = self._released(everything=self.past_mark)
        return Piece("".join(new), token_texts=tokens, after="".join(after))

    def pass_mark(self) -> Piece:
        """The text ends here. What was held back belongs to it, unless that is a stop string."""
        piece = self.finish()
        if not piece.stopped:
            self._ended = False
            self.past_mark = True
        return piece

    def finish(self) -> Piece:
        """The end of the answer: what was held back is text after all."""
        if self._ended:
            return Piece("")
        last = self._decoder.decode(b"", final=True)
        if self.past_mark:
            self._ended = True
            return Piece("", token_texts=self._released(everything=True), after=last)
        taken = self._take(last)
        if not isinstance(taken, str):
            return self._stop("", taken)
        text = taken + self._held
        self._shown += len(self._held)
        self._held = ""
        self._ended = True
        return Piece(text, token_texts=self._released(everything=True))

    def _take(self, text: str) -> str | Cut:
        """The text that may be shown now, or where it is cut."""
        if self._stops is None:
            self._shown += len(text)
            return text
        self._held += text
        found = self._stops.find(text)
        if found is not None:
            end = len(self._held) - len(text) + found.end
            before = self._held[: end - len(found.text)]
            self._shown += len(before)
            return Cut(before, found.text, self._held[end:])
        free = len(self._held) - self._stops.pending
        shown, self._held = self._held[:free], self._held[free:]
        self._shown += free
        return shown

    def _stop(self, earlier: str, cut: Cut) -> Piece:
        self._ended = True
        tokens = []
        for token, end in self._tokens:
            if end <= self._shown:
                tokens.append(token)
            elif token.offset < self._shown:
                text = token.text[: self._shown - token.offset]
                tokens.append(
                    TokenText(token.index, token.token_id, text, text.encode(), token.offset)
                )
        self._tokens.clear()
        return Piece(earlier + cut.before, True, cut.string, tuple(tokens))

    def _released(self, *, everything: bool = False) -> tuple[TokenText, ...]:
        released = []
        while self._tokens and (everything or self._tokens[0][1] <= self._shown):
            released.append(self._tokens.popleft()[0])
        return tuple(released)
