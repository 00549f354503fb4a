"""What the engine is to do for a request: a job for each choice, within the model's bounds."""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from cierzo.api.errors import bad_request, context_length_exceeded
from cierzo.api.state import Language, Service
from cierzo.chat.answers.reader import call_id
from cierzo.chat.calls.tool_format import CallIds, ToolFormat
from cierzo.engine.sampling_params import SamplingParams, validate
from cierzo.grammar.constraint import Constraint

_ENOUGH = 1024  # tokens of an answer that need not be refused, though more were asked for


@dataclass(frozen=True, slots=True)
class Job:
    """One choice of an answer."""

    prompt: Sequence[int]
    params: SamplingParams
    request_id: str
    mid_text: bool  # the answer goes on with a text, rather than being one of its own
    shares: str = ""  # request_id of the first choice with this prompt, where this is another
    format: ToolFormat | None = None  # how the model writes calls, if it may
    seed: int = 0  # of this choice

    def call_id(self, index: int) -> str:
        """The id of a call in this answer. Its place in the conversation is part of it, so that
        turns with one seed do not repeat ids."""
        return call_id(self.seed, len(self.prompt) + index)


def check_context(prompt_tokens: int, max_tokens: int | None, service: Service, param: str) -> int:
    """How many tokens the answer may have: `max_tokens`, or what the context leaves.

    Agents ask for as many tokens as a model may write at all, whatever they send. So a bound that
    does not fit is cut to what is left, where that is enough for an answer. Raises ApiError where
    it is not: then an agent has to shorten its history.
    """
    limit = service.client.info.max_model_len
    left = limit - prompt_tokens
    enough = max(1, min(_ENOUGH, limit // 4))
    if max_tokens is None and left >= 1:
        return left
    if max_tokens is not None and (max_tokens <= left or left >= enough):
        return min(max_tokens, left)
    raise context_length_exceeded(limit, prompt_tokens, max_tokens or 0, param)


def check_text_size(size: int, language: Language, service: Service, param: str) -> None:
    """Refuses a text so long that no tokenization fits, before time is spent on tokenizing it.

    `size` is in characters, which are no more than bytes. The doubt that some tokenizers
    normalise a text first, and so shorten it, gets a factor of two.
    """
    limit = service.client.info.max_model_len
    least = size // (2 * language.max_token_bytes)
    if least > limit:
        raise context_length_exceeded(limit, least, 0, param)


def check_params(params: SamplingParams, service: Service) -> None:
    """Raises ApiError for what the engine cannot honour, such as a bias on no token."""
    try:
        validate(params, service.client.info.vocab_size)
    except ValueError as error:
        raise bad_request(str(error), str(error).partition(" ")[0].rstrip(":")) from None


def jobs_for(
    prompt: Sequence[int],
    params: SamplingParams,
    choices: int,
    request_id: str,
    *,
    mid_text: bool,
    format: ToolFormat | None = None,
    constraint: Callable[[CallIds], Constraint | None] | None = None,
) -> tuple[Job, ...]:
    """A job for each choice. The first has the request's seed, the others one that follows.

    Without a seed one is drawn here, so that all that is made from it agrees. `constraint` makes
    what the answer must look like; calls have the ids that it is given.
    """
    drawn = secrets.randbits(63) if params.seed is None else params.seed
    jobs = []
    for index in range(choices):
        seed = seed_of_choice(drawn, index)
        own = msgspec.structs.replace(params, seed=seed)
        job = Job(
            prompt,
            own,
            f"{request_id}-{index}",
            mid_text=mid_text,
            shares=f"{request_id}-0" if index else "",
            format=format,
            seed=seed,
        )
        if constraint is not None:
            own = msgspec.structs.replace(own, constraint=constraint(job.call_id))
            job = dataclasses.replace(job, params=own)
        jobs.append(job)
    return tuple(jobs)


def seed_of_choice(seed: int, index: int) -> int:
    """The seed of one of several choices: the request's own for the first."""
    if index == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
