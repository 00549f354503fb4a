"""The tokens of one answer as they come: content, and calls of tools."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cierzo.chat.answers.detokenizer import Detokenizer, Piece, TokenText
from cierzo.chat.calls.tool_format import SPACE, CallDelta, CallIds, Event, ToolFormat
from cierzo.chat.messages import ToolCall, nine_letters
from cierzo.chat.tokenizers.tokenizer import Tokenizer

__all__ = ["AnswerReader", "CallDelta", "Step", "call_id", "whole_calls"]


@dataclass(frozen=True, slots=True)
class Step:
    """What some tokens added to the answer.

    `events` are texts and what is new of calls, in the order in which the model wrote them; two
    texts never stand side by side. `token_texts` has the tokens of calls too.
    """

    events: tuple[Event, ...] = ()
    stopped: bool = False
    stop_string: str | None = None
    token_texts: tuple[TokenText, ...] = ()

    @property
    def text(self) -> str:
        """The content alone."""
        return "".join(event for event in self.events if isinstance(event, str))

    @property
    def calls(self) -> tuple[CallDelta, ...]:
        """What is new of calls alone."""
        return tuple(event for event in self.events if not isinstance(event, str))


class AnswerReader:
    """Reads one answer. However its tokens are grouped, the steps together are the same.

    Without `format` everything is content. With one, what follows the format's token or mark is
    calls; stop strings and `continues` are for the content alone, and white space between content
    and calls is not part of either.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        format: ToolFormat | None = None,
        *,
        stop: Sequence[str] = (),
        continues: bool = False,
        call_ids: CallIds | None = None,
        spell_tokens: bool = True,
    ) -> None:
        """`call_ids` gives the id of each call; `spell_tokens` asks for `token_texts`.

        Raises ValueError for an empty stop string.
        """
        mark = format.mark if format else ""
        self._text = Detokenizer(
            tokenizer, stop, continues=continues, mark=mark, spell_tokens=spell_tokens
        )
        self._format = format
        self._parser = format.parser(call_ids or _same_ids) if format else None
        self._space = ""  # at the end of the content, which calls may follow
        self._ended = False

    def push(self, token_ids: Iterable[int]) -> Step:
        """The next tokens. After a stop string, or after `finish`, there is nothing more."""
        if self._ended:
            return Step()
        if self._format is None or self._parser is None:
            return self._end_if_stopped(_plain(self._text.push(token_ids)))
        growing = _Growing()
        for token_id in token_ids:
            own = token_id in self._format.tokens
            if own and not self._text.past_mark and token_id == self._format.trigger:
                self._take(self._text.pass_mark(), growing)
                growing.tokens += self._text.push((token_id,)).token_texts
            elif own and self._text.past_mark:
                growing.tokens += self._text.push((token_id,)).token_texts
                self._note(self._parser.token(token_id), growing)
            else:
                self._take(self._text.push((token_id,)), growing)
            if growing.stopped:
                break
        return self._end_if_stopped(growing.step())

    def finish(self) -> Step:
        """The end of the answer: what was held back is shown as what it is."""
        if self._ended:
            return Step()
        self._ended = True
        growing = _Growing()
        self._take(self._text.finish(), growing)
        if self._parser is not None and self._text.past_mark and not growing.stopped:
            self._note(self._parser.end(), growing)
        elif not growing.stopped:
            growing.add(self._space)
        return growing.step()

    def _take(self, piece: Piece, growing: _Growing) -> None:
        """Adds a piece of content, and what came after it."""
        if self._parser is None:
            growing.add(piece.text)
        elif piece.text:
            self._content(piece.text, growing)
        growing.tokens += piece.token_texts
        if piece.stopped:
            growing.add(self._space)
            growing.stopped, growing.stop_string = True, piece.stop_string
        elif piece.after and self._parser is not None:
            self._note(self._parser.text(piece.after), growing)

    def _content(self, text: str, growing: _Growing) -> None:
        text = self._space + text
        kept = text.rstrip(SPACE)
        self._space = text[len(kept) :]
        growing.add(kept)

    def _note(self, events: Iterable[Event], growing: _Growing) -> None:
        for event in events:
            growing.add(event)

    def _end_if_stopped(self, step: Step) -> Step:
        self._ended = step.stopped
        return step


@dataclass
class _Growing:
    """A step while it is put together."""

    events: list[Event] = field(default_factory=list)
    tokens: list[TokenText] = field(default_factory=list)
    stopped: bool = False
    stop_string: str | None = None

    def add(self, event: Event) -> None:
        """Joins texts, and fragments of one call, that follow each other."""
        last = self.events[-1] if self.events else None
        if isinstance(event, str):
            if not event:
                return
            if isinstance(last, str):
                self.events[-1] = last + event
                return
        elif isinstance(last, CallDelta) and last.index == event.index and event.name is None:
            joined = last.arguments + event.arguments
            self.events[-1] = CallDelta(last.index, last.id, last.name, joined)
            return
        self.events.append(event)

    def step(self) -> Step:
        return Step(tuple(self.events), self.stopped, self.stop_string, tuple(self.tokens))


def joined(events: Iterable[Event], more: Iterable[Event]) -> tuple[Event, ...]:
    """The events of two steps as those of one."""
    growing = _Growing()
    for event in (*events, *more):
        growing.add(event)
    return tuple(growing.events)


def _plain(piece: Piece) -> Step:
    events = (piece.text,) if piece.text else ()
    return Step(events, piece.stopped, piece.stop_string, piece.token_texts)


def _same_ids(index: int) -> str:
    return call_id(0, index)


def whole_calls(deltas: Iterable[CallDelta]) -> tuple[ToolCall, ...]:
    """The calls that deltas add up to."""
    calls: list[tuple[CallDelta, list[str]]] = []
    for delta in deltas:
        if delta.name is not None:
            calls.append((delta, []))
        calls[-1][1].append(delta.arguments)
    return tuple(ToolCall(d.name or "", "".join(parts), d.id) for d, parts in calls)


def call_id(seed: int, position: int) -> str:
    """An id in Mistral's form that follows from the request's seed and the call's position."""
    return nine_letters(f"call:{seed}:{position}".encode())
