"""A diagnosis in one line for people: where the prompts part, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable

from cierzo.chat.messages import Part
from cierzo.generate.reuse.diagnosis import Cause, Change, Miss

Spell = Callable[[Part], str]

_WHOLE = {
    Cause.NOT_KEPT: (
        "the prompt goes on as the earlier one did, but not all of it is in the cache any more: it "
        "made room for others, was cleared, or the server started anew"
    ),
    Cause.RETOKENIZED: (
        "{part} is what the model said, in other tokens than it chose; nothing is to be done"
    ),
    Cause.TEMPLATE: (
        "the conversation goes on, but the model's own format writes it otherwise now: some write "
        "tools before the last message of the user's"
    ),
    Cause.COMPACTED: "the conversation was shortened, and differs from {part} on",
}
_TOOLS = {
    Change.MOVED: "{part} and {other} changed places; send tools in the same order each time",
    Change.ADDED: (
        "{part} is new; send all tools from the first turn on, and choose among them by tool_choice"
    ),
    Change.REMOVED: (
        "{part}: a tool is gone; send all tools each time, and choose among them by tool_choice"
    ),
    Change.KEY_ORDER: "{part} has its keys in another order; write it in the same way each time",
}
_TEXTS = {
    Change.TIME: "a date or a time; leave it out, or put it into the last message",
    Change.IDENTIFIER: "an id or a hash; leave it out, or keep it for the whole session",
    Change.NUMBER: "a number; leave it out, or put it into the last message",
    Change.SPACE: "white space; send it as it was",
    Change.TEXT: "what changes belongs at the end of the conversation",
}
_NO_ANSWER = "{part} is not the answer of the earlier request; send it back before you go on"


def in_words(miss: Miss, spell: Spell) -> str:
    """One line. `spell` names a part as the request has it. It quotes nothing that was sent."""
    return _form(miss).format(part=spell(miss.place.part), other=spell(miss.place.other))


def _form(miss: Miss) -> str:
    change = miss.place.change
    if miss.cause in _WHOLE:
        return _WHOLE[miss.cause]
    if miss.cause is Cause.TOOLS and change in _TOOLS:
        return _TOOLS[change]
    if change not in _TEXTS:
        return _NO_ANSWER
    character = miss.place.character
    at = "" if character is None else f" from character {character:,} on"
    return f"{{part}} differs{at}: {_TEXTS[change]}"
