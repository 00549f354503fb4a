"""Recorded agent sessions, as requests to send again.

A file is one session: an OpenAI message list (`recorded.py`), or sizes and ids of blocks without
any text, as callanjfox/kv-cache-tester has them (`hashed.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from cierzo.cli.bench.recordings.hashed import hashed_turns
from cierzo.cli.bench.recordings.recorded import recorded_turns
from cierzo.cli.bench.recordings.turn import Chat, Turn
from cierzo.settings import SettingsError


@dataclass(frozen=True)
class Trace:
    """A session: its turns in order, each with the whole history."""

    name: str
    turns: tuple[Turn, ...]
    tools: tuple[dict[str, Any], ...] = ()  # OpenAI's list, sent with every turn

    @property
    def has_think_times(self) -> bool:
        return all(turn.think_s is not None for turn in self.turns)


def read_trace(path: Path, *, characters: int, scale: Fraction, plain: bool) -> Trace:
    """The turns of a file up to the first whose history is longer than `characters`.

    SettingsError, in one line, for a file that is no trace and for one whose first turn is longer.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON: {error}") from error
    if not isinstance(data, dict) or not {"messages", "requests"} & data.keys():
        raise SettingsError(
            f"{path}: no trace: expected `messages` (OpenAI's), or `requests` with `hash_ids`"
        )
    tools: tuple[dict[str, Any], ...] = ()
    try:
        if "messages" in data:
            turns = recorded_turns(data["messages"], plain=plain)
            tools = () if plain else tuple(data.get("tools") or ())
        else:
            turns = hashed_turns(data, scale)
        kept = tuple(_within(turns, characters))
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise SettingsError(f"{path}: a trace that is broken: {reason}") from error
    if not kept:
        raise SettingsError(
            f"{path}: no turn within {characters:,} characters: give more --characters"
            + ("" if "messages" in data else ", or a --scale such as 1/16")
        )
    return Trace(path.stem, kept, tools)


def _within(turns: Iterator[Turn], characters: int) -> Iterator[Turn]:
    for turn in turns:
        if _length(turn.messages) > characters:
            return
        yield turn


def _length(messages: Chat) -> int:
    """Characters of a history's texts, calls included."""
    return sum(
        len(message["content"])
        + sum(
            len(call["function"]["name"]) + len(call["function"]["arguments"])
            for call in message.get("tool_calls", ())
        )
        for message in messages
    )


def for_session(turn: Turn, session: int, seed: int) -> list[dict[str, Any]]:
    """A turn's messages with a first line that no other session has, from 1, and no other seed.

    Sessions that begin alike would share what is cached, and so would a second run. The line has
    as many characters for every session.
    """
    first, *others = turn.messages
    line = f"Session {session:04d} of run {seed}.\n"
    return [{**first, "content": line + first["content"]}, *others]
