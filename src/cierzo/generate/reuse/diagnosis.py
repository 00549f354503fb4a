"""What became of the tokens that a prompt could have found in the cache, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cierzo.chat.messages import Part


class Cause(StrEnum):
    """Why tokens were computed that an earlier request had computed."""

    SYSTEM = "system_changed"
    TOOLS = "tools_changed"
    MESSAGES = "messages_changed"
    PROMPT = "prompt_changed"  # of a text that is gone on with
    COMPACTED = "context_compacted"  # the conversation has got shorter
    RETOKENIZED = "answer_retokenized"  # the same words of the model, in other tokens than it chose
    TEMPLATE = "template_changed"  # the same conversation, written otherwise by the model's format
    NOT_KEPT = "not_kept"  # nothing changed, but the cache has not got it any more


class Change(StrEnum):
    """How the part in which two prompts part differs."""

    TIME = "time"  # a date or a time
    IDENTIFIER = "identifier"  # a hash, a random id
    NUMBER = "number"
    SPACE = "white_space"
    KEY_ORDER = "key_order"  # of JSON
    MOVED = "moved"  # tools that change places
    ADDED = "added"
    REMOVED = "removed"
    TEXT = "text"  # anything else


@dataclass(frozen=True, slots=True)
class Place:
    """Where the prompts part, and the texts there."""

    part: Part = ()  # of the new request; ("tools", 3) is none of its own where tools are gone
    character: int | None = None  # within that text; None where it cannot be told
    change: Change = Change.TEXT
    other: Part = ()  # the part that this one changed places with
    shared: str = ""  # the end of what is the same
    before: str = ""  # how the earlier request went on
    now: str = ""  # how this one goes on


@dataclass(frozen=True, slots=True)
class Miss:
    """Tokens that an earlier request had computed, and that cannot be taken from it."""

    cause: Cause
    tokens: int
    place: Place = Place()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a request reused of an earlier one."""

    compared: str | None  # the id of the earlier answer; None: there is none to compare with
    reusable: int = 0  # tokens of the earlier request that a later one may begin from
    cached: int = 0  # tokens that were found
    lost: int = 0  # that were not, although as many had been computed
    misses: tuple[Miss, ...] = ()  # the first one is what to mend first
