"""A trace of sizes and block ids as turns: requests' prompts are known by the ids of their blocks.

The form is that of callanjfox/kv-cache-tester: each request has `hash_ids`, an id for every
`block_size` tokens of its prompt, where equal ids are equal content; the tokens after the last
whole block are left out, for nothing is known of them. A block becomes words that follow from its
id, so prompts share in text exactly what the recorded ones shared in tokens.

Blocks say nothing of messages, so these are made: the tools' and system's share is the system
message; what a request has beyond the one before is that one's answer, as long as it was, and then
a user's turn. Where a history was changed, the new one goes on from there in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from cierzo.cli.bench.recordings.turn import Turn
from cierzo.cli.bench.words import words
from cierzo.settings import SettingsError


@dataclass(frozen=True)
class _Part:
    """A message: who speaks, and the blocks that it spans."""

    role: str
    begin: int
    end: int


def hashed_turns(trace: Mapping[str, Any], scale: Fraction) -> Iterator[Turn]:
    """A turn a request, its sizes times `scale`: a word for each block at least."""
    size = trace["block_size"] * scale
    if size < 1:
        raise SettingsError(
            f"--scale {scale}: expected at least 1/{trace['block_size']} for this trace"
        )
    spell = _speller(str(trace["id"]), size)
    system = (trace.get("tool_tokens", 0) + trace.get("system_tokens", 0)) // trace["block_size"]
    parts: list[_Part] = []
    before: Sequence[int] = ()
    answer = 0  # blocks
    for request in trace["requests"]:
        ids = request["hash_ids"]
        if not ids:
            continue
        parts = _parts(parts, _common(before, ids), len(ids), system, answer)
        messages = tuple(
            {"role": part.role, "content": spell(ids, part.begin, part.end)} for part in parts
        )
        yield Turn(messages, float(request.get("think_time") or 0.0))
        before, answer = ids, round(request["out"] / trace["block_size"])


def _common(before: Sequence[int], ids: Sequence[int]) -> int:
    """How many blocks two prompts begin with alike."""
    for index, (old, new) in enumerate(zip(before, ids, strict=False)):
        if old != new:
            return index
    return min(len(before), len(ids))


def _parts(before: list[_Part], common: int, blocks: int, system: int, answer: int) -> list[_Part]:
    """The messages of a prompt that shares `common` blocks with the one before."""
    parts = [
        _Part(part.role, part.begin, min(part.end, common))
        for part in before
        if part.begin < common
    ]
    if not parts and 0 < system < blocks:
        parts = [_Part("system", 0, system)]
    begin = parts[-1].end if parts else 0
    if parts and parts[-1].role == "user":
        # A user's turn ends every prompt, if only of a block.
        end = max(begin, min(begin + answer, blocks - 1))
        if end > begin:
            parts.append(_Part("assistant", begin, end))
            begin = end
    if begin < blocks:
        parts.append(_Part("user", begin, blocks))
    return _merged(parts)


def _merged(parts: list[_Part]) -> list[_Part]:
    """Neighbours of one role become one; the last is the user's."""
    parts[-1] = _Part("user", parts[-1].begin, parts[-1].end)
    merged: list[_Part] = []
    for part in parts:
        goes_on = bool(merged) and merged[-1].role == part.role
        begin = merged.pop().begin if goes_on else part.begin
        merged.append(_Part(part.role, begin, part.end))
    return merged


def _speller(name: str, size: Fraction) -> Callable[[Sequence[int], int, int], str]:
    """Writes blocks of `size` tokens, which need not be whole: the place of a block decides."""
    most = -(-size.numerator // size.denominator)
    known: dict[int, list[str]] = {}

    def block(block_id: int, place: int) -> list[str]:
        if block_id not in known:
            known[block_id] = words(f"{name} {block_id}", most)
        return known[block_id][: int((place + 1) * size) - int(place * size)]

    def spell(ids: Sequence[int], begin: int, end: int) -> str:
        return " ".join(word for place in range(begin, end) for word in block(ids[place], place))

    return spell
