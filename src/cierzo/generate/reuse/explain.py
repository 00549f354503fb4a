"""From the token in which two prompts part to the part of the request, the character, the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from cierzo.chat.messages import Message, Part
from cierzo.chat.templates.canonical import canonical
from cierzo.generate.ask import Conversation, Prompt
from cierzo.generate.reuse.change import change_of
from cierzo.generate.reuse.diagnosis import Cause, Change, Miss, Place
from cierzo.generate.reuse.outline import Outline, ToolMark, is_system, pieces_of
from cierzo.generate.reuse.parting import Parting, Tokens
from cierzo.generate.reuse.recent import Compared, Recent

_TOKENS_BEHIND = 512  # of the earlier prompt that are looked at, from where they part
_SHARED, _SHOWN = 40, 60  # characters of the texts that are told
_LOOKED_AT = 400  # characters that say what kind of change it is


@dataclass(frozen=True, slots=True)
class _Texts:
    """A new prompt as the model reads it, and how the earlier one goes on."""

    now: bytes
    at: int  # where they part, in bytes
    rest: bytes  # of the earlier one from there, as far as it is looked at

    def spans(self, text: str) -> int | None:
        """How many characters of a text lie before the place. None: it is not in this text."""
        data = text.encode("utf-8", "replace")
        for kept in dict.fromkeys((data, data.strip())):
            if not kept:
                continue
            start = self.now.rfind(kept, max(0, self.at - len(kept)), self.at + len(kept))
            if start >= 0:
                begun = data[: data.find(kept) + self.at - start]
                return len(begun.decode("utf-8", "ignore"))
        return None


def explained(
    compared: Compared, prompt: Prompt, outline: Outline, tokens: Tokens, spell: Sequence[bytes]
) -> Miss:
    """What made a prompt part from an earlier one. `spell` has the bytes of every token. Slow for a
    long prompt."""
    found, old = compared.parting, compared.earlier.outline
    texts = _texts(compared, tokens, spell)
    told = _told(texts)
    if not isinstance(prompt, Conversation):
        at = len(texts.now[: texts.at].decode("utf-8", "replace"))
        character = at if isinstance(prompt, str) else found.common
        place = replace(told, part=("prompt",), character=character)
        return Miss(Cause.PROMPT, found.missed, place)
    at = old.answer_place
    if found.answer is None:
        at = _first_difference(old.messages, outline.messages)
    message, part = _message(prompt, at), ("messages", at)
    place = _within(message, part, texts, told) if message else told
    tools = _tools(old.tools, outline.tools) if found.answer is None else None
    if found.answer is not None or at == len(old.messages):
        if message is not None and message.role != "assistant" and tools is None:
            gone = replace(told, part=part, change=Change.REMOVED)
            return Miss(Cause.MESSAGES, found.missed, gone)
        if found.answer is not None:
            cause = Cause.MESSAGES if texts.rest else Cause.RETOKENIZED
            return Miss(cause, found.missed, place)
        place = told
    if tools is not None and place.character is None:
        return Miss(Cause.TOOLS, found.missed, _of_tools(tools, told))
    if message is None or not place.part:
        return Miss(Cause.TEMPLATE, found.missed, told)
    cause = Cause.MESSAGES
    if is_system(message):
        cause = Cause.SYSTEM
    elif len(outline.messages) < len(old.messages):
        cause = Cause.COMPACTED
    return Miss(cause, found.missed, place)


def is_new_question(miss: Miss, outline: Outline) -> bool:
    """Whether prompts part in the last message alone: another question to the same history."""
    last, place = len(outline.messages) - 1, miss.place
    is_last = last > 0 and place.part[:2] == ("messages", last)
    return is_last and miss.cause is Cause.MESSAGES and place.change is not Change.REMOVED


def _texts(compared: Compared, tokens: Tokens, spell: Sequence[bytes]) -> _Texts:
    found, earlier = compared.parting, compared.earlier
    parts = _spelled(tokens.tolist(), spell)
    now, at = b"".join(parts), sum(map(len, parts[: found.common]))
    rests = [b"".join(_spelled(old, spell)) for old in _behind(earlier, found)]
    # Of answers that share no more tokens, the one that is meant shares more of its text.
    same, rest = max(((_shared_bytes(now, at, old), old) for old in rests), key=itemgetter(0))
    at, rest = at + same, rest[same:]
    # Back to where a letter begins.
    while at and at < len(now) and now[at] & 0xC0 == 0x80:
        at -= 1
        rest = now[at : at + 1] + rest
    return _Texts(now, at, rest)


def _behind(earlier: Recent, found: Parting) -> list[list[int]]:
    """How an earlier prompt goes on from where a new one parts: with any of its answers that share
    as many tokens."""
    old = earlier.prompt[found.common : found.common + _TOKENS_BEHIND].tolist()
    room = _TOKENS_BEHIND - len(old)
    if room == 0 or not earlier.answers:
        return [old]
    begun = max(0, found.common - len(earlier.prompt))
    best = earlier.answers[found.answer or 0][:begun].tolist()
    return [
        old + answer[begun : begun + room].tolist()
        for answer in earlier.answers
        if answer[:begun].tolist() == best
    ]


def _spelled(tokens: Sequence[int], spell: Sequence[bytes]) -> list[bytes]:
    """The bytes of each; none of those that a model has beside its vocabulary."""
    known = len(spell)
    return [spell[token] if token < known else b"" for token in tokens]


def _shared_bytes(now: bytes, at: int, rest: bytes) -> int:
    size = 0
    for one, other in zip(now[at : at + len(rest)], rest, strict=False):
        if one != other:
            break
        size += 1
    return size


def _told(texts: _Texts) -> Place:
    """What can be told of any parting."""
    shared = texts.now[max(0, texts.at - 4 * _SHARED) : texts.at].decode("utf-8", "ignore")
    now = texts.now[texts.at : texts.at + 4 * _LOOKED_AT].decode("utf-8", "ignore")
    before = texts.rest.decode("utf-8", "ignore")
    return Place(
        change=change_of(shared, before, now),
        shared=shared[-_SHARED:],
        before=before[:_SHOWN],
        now=now[:_SHOWN],
    )


def _within(message: Message, part: Part, texts: _Texts, told: Place) -> Place:
    """The place within a message, as exactly as it can be told."""
    for piece, text in pieces_of(message, part):
        character = texts.spans(text)
        if character is not None:
            shared = text[max(0, character - _SHARED) : character]
            now = text[character : character + _SHOWN]
            return replace(told, part=piece, character=character, shared=shared, now=now)
    return replace(told, part=part)


def _message(prompt: Conversation, at: int) -> Message | None:
    """A message of the prompt as templates write it, if there are so many."""
    turns = prompt.turns[at : at + 1]
    return canonical(turns)[0] if turns else None


def _first_difference(old: Sequence[object], new: Sequence[object]) -> int:
    pairs = zip(old, new, strict=False)
    same = next((at for at, (one, other) in enumerate(pairs) if one != other), None)
    return min(len(old), len(new)) if same is None else same


@dataclass(frozen=True, slots=True)
class _ToolChange:
    """How the first tool that differs does."""

    part: Part
    change: Change = Change.TEXT
    other: Part = ()


def _tools(old: Sequence[ToolMark], new: Sequence[ToolMark]) -> _ToolChange | None:
    if old == new:
        return None
    at = _first_difference(old, new)
    return _ToolChange(("tools", at), Change.REMOVED) if at == len(new) else _tool(at, old, new)


def _tool(at: int, old: Sequence[ToolMark], new: Sequence[ToolMark]) -> _ToolChange:
    part: Part = ("tools", at)
    if at == len(old) or new[at].name not in {tool.name for tool in old}:
        return _ToolChange(part, Change.ADDED)
    if new[at].name != old[at].name:
        names = [tool.name for tool in new]
        if old[at].name not in names:
            return _ToolChange(part, Change.REMOVED)
        return _ToolChange(part, Change.MOVED, ("tools", names.index(old[at].name)))
    if new[at].description != old[at].description:
        return _ToolChange((*part, "description"))
    same = new[at].in_any_order == old[at].in_any_order
    return _ToolChange((*part, "parameters"), Change.KEY_ORDER if same else Change.TEXT)


def _of_tools(found: _ToolChange, told: Place) -> Place:
    change = told.change if found.change is Change.TEXT else found.change
    return replace(told, part=found.part, change=change, other=found.other)
