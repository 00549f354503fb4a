"""A job: one choice of an answer, checked and ready for the engine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cierzo.chat.answers.reader import call_id
from cierzo.chat.calls.tool_format import ToolFormat
from cierzo.engine.cache.hints import NO_HINTS, Hints
from cierzo.engine.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class Job:
    """Made by `prepare` alone, so whatever holds one need not check it again."""

    prompt: Sequence[int]
    params: SamplingParams
    request_id: str
    seed: int
    stop: tuple[str, ...] = ()
    continues: bool = False  # the answer goes on with a text, rather than being one of its own
    format: ToolFormat | None = None  # how the model writes calls, if it may
    index: int = 0  # which of several choices with this prompt
    cache_salt: str = ""  # who may find what is computed for it
    retain: bool = True  # whether anybody may, once it is over
    hints: Hints = NO_HINTS  # how its prompt will be asked again
    prediction: Sequence[int] = ()  # tokens that the answer is likely to have

    def call_id(self, index: int) -> str:
        """The id of a call in this answer. Its place in the conversation is part of it, so that
        turns with one seed do not repeat ids."""
        return call_id(self.seed, len(self.prompt) + index)


def seed_of_choice(seed: int, index: int) -> int:
    """The seed of one of several choices: the request's own for the first."""
    if index == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
