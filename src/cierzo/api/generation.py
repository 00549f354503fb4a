"""From prompts to text: jobs for the engine, their tokens turned into deltas, in one stream."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

import msgspec

from cierzo.api.errors import as_api_error, bad_request, context_length_exceeded
from cierzo.api.metrics import Outcome
from cierzo.api.schemas.common import CostDetails, PromptTokensDetails, Usage
from cierzo.api.service import Language, Service
from cierzo.chat.detokenizer import Detokenizer, TokenText
from cierzo.engine.errors import EngineError, PromptTooLong, QueueFull
from cierzo.engine.messages import StepOutput, TokenLogprobs
from cierzo.engine.sampling_params import SamplingParams, validate


@dataclass(frozen=True, slots=True)
class Job:
    """One choice of an answer."""

    prompt: Sequence[int]
    params: SamplingParams
    request_id: str
    mid_text: bool  # the answer goes on with a text, rather than being one of its own
    first: bool = True  # of the choices that share this prompt: the one whose prompt is counted


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of the answer with its log-probabilities."""

    token: TokenText
    scores: TokenLogprobs


@dataclass(frozen=True, slots=True)
class Delta:
    """What a step added to one choice. Tokens, if asked for, come once all their text has."""

    text: str
    tokens: tuple[ScoredToken, ...] = ()
    prompt_scores: tuple[TokenLogprobs, ...] = ()  # arrive in pieces, before the first text
    finish_reason: Literal["stop", "length"] | None = None
    stop_token: ScoredToken | None = None  # the token that ended the answer and is no text


@dataclass(slots=True)
class Tally:
    """Tokens of a whole request, for its usage. Prices are in US dollars a token."""

    prompt_price: float
    completion_price: float
    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def usage(self) -> Usage:
        """As clients are told."""
        # Rounded to where a float's own error would show.
        prompt_cost = round(self.prompt * self.prompt_price, 12)
        completion_cost = round(self.completion * self.completion_price, 12)
        return Usage(
            prompt_tokens=self.prompt,
            completion_tokens=self.completion,
            total_tokens=self.prompt + self.completion,
            cost=round(prompt_cost + completion_cost, 12),
            cost_details=CostDetails(prompt_cost, completion_cost),
            prompt_tokens_details=PromptTokensDetails(self.cached),
        )


def check_context(prompt_tokens: int, max_tokens: int | None, service: Service, param: str) -> int:
    """How many tokens the answer may have. Raises ApiError where the context is too short."""
    limit = service.client.info.max_model_len
    left = limit - prompt_tokens
    if max_tokens is None:
        if left < 1:
            raise context_length_exceeded(limit, prompt_tokens, 0, param)
        return left
    if left < max_tokens:
        raise context_length_exceeded(limit, prompt_tokens, max_tokens, param)
    return max_tokens


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
) -> tuple[Job, ...]:
    """A job for each choice. The first has the request's seed, the others one that follows.

    Without a seed one is drawn here, so that all that is made from it agrees.
    """
    seed = secrets.randbits(63) if params.seed is None else params.seed
    return tuple(
        Job(
            prompt,
            msgspec.structs.replace(params, seed=seed_of_choice(seed, index)),
            f"{request_id}-{index}",
            mid_text=mid_text,
            first=index == 0,
        )
        for index in range(choices)
    )


def seed_of_choice(seed: int, index: int) -> int:
    """The seed of one of several choices: the request's own for the first."""
    if index == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


async def generate(service: Service, job: Job, tally: Tally) -> AsyncGenerator[Delta, None]:
    """The deltas of one choice; the last has a finish reason. Closing it aborts the request.

    Raises ApiError for what the engine refuses or cannot finish.
    """
    tokenizer = service.ready().tokenizer
    detokenizer = Detokenizer(tokenizer, job.params.stop, mid_text=job.mid_text)
    if job.first:
        tally.prompt += len(job.prompt)
    scores: list[TokenLogprobs] = []
    outcome: Outcome = "cancelled"
    clock = _Clock(service)
    outputs = service.client.generate(job.prompt, job.params, request_id=job.request_id)
    try:
        async with aclosing(outputs):
            async for output in outputs:
                tally.completion += len(output.token_ids)
                clock.tick(len(output.token_ids))
                scores += output.logprobs or ()
                delta = _delta(output, detokenizer, scores)
                if delta.finish_reason:
                    outcome = delta.finish_reason
                    tally.cached += output.num_cached_tokens if job.first else 0
                yield delta
                if delta.finish_reason:
                    break
    except Exception as error:
        outcome = "refused" if isinstance(error, QueueFull | PromptTooLong) else "error"
        answer = as_api_error(error)
        if answer is None:
            raise
        raise answer from error
    finally:
        service.metrics.mark_outcome(outcome)


def _delta(output: StepOutput, detokenizer: Detokenizer, scores: list[TokenLogprobs]) -> Delta:
    ids = output.token_ids
    ended = output.stop_token_id is not None
    piece = detokenizer.push(ids[:-1] if ended else ids)
    text, tokens = piece.text, piece.token_texts
    finish: Literal["stop", "length"] | None = None
    if piece.stopped:
        finish = "stop"
    elif output.finish_reason is not None:
        if output.finish_reason not in ("stop", "length"):
            raise EngineError(output.error or f"the request ended: {output.finish_reason}")
        rest = detokenizer.finish()
        text, tokens = text + rest.text, tokens + rest.token_texts
        finish = "stop" if rest.stopped or output.finish_reason == "stop" else "length"
    stop_token = None
    if ended and scores and not piece.stopped:
        stop_token = ScoredToken(TokenText(len(scores) - 1, ids[-1], "", b"", 0), scores[-1])
    return Delta(
        text,
        tuple(ScoredToken(token, scores[token.index]) for token in tokens) if scores else (),
        output.prompt_logprobs or (),
        finish,
        stop_token,
    )


class _Clock:
    """Observes when tokens come."""

    def __init__(self, service: Service) -> None:
        self._metrics = service.metrics
        self._last = time.monotonic()
        self._first = True

    def tick(self, tokens: int) -> None:
        """`tokens` have come now."""
        if not tokens:
            return
        now = time.monotonic()
        if self._first:
            self._first = False
            self._metrics.to_first_token.observe(now - self._last)
        else:
            self._metrics.between_tokens.observe((now - self._last) / tokens)
        self._last = now


async def generate_all(
    service: Service, jobs: Sequence[Job], tally: Tally
) -> AsyncGenerator[tuple[int, Delta], None]:
    """The deltas of all jobs as they come, each with its job's index.

    No more run at once than fit in a batch, so that one request with many prompts does not fill
    the queue. The first error ends them all; so does closing this.
    """
    if len(jobs) == 1:
        async with aclosing(generate(service, jobs[0], tally)) as deltas:
            async for delta in deltas:
                yield 0, delta
        return
    engine = service.settings.engine
    places = asyncio.Semaphore(min(engine.max_batch_sequences, engine.max_queue))
    merged: asyncio.Queue[tuple[int, Delta] | Exception | None] = asyncio.Queue(maxsize=len(jobs))

    async def pump(index: int, job: Job) -> None:
        try:
            async with places, aclosing(generate(service, job, tally)) as deltas:
                async for delta in deltas:
                    await merged.put((index, delta))
        except Exception as error:
            await merged.put(error)
        else:
            await merged.put(None)

    tasks = [asyncio.create_task(pump(index, job)) for index, job in enumerate(jobs)]
    try:
        running = len(tasks)
        while running:
            item = await merged.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
