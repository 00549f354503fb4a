"""From jobs to text: the engine's tokens turned into deltas, those of all choices in one stream."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from cierzo.api.errors import as_api_error
from cierzo.api.jobs import Job
from cierzo.api.metrics import Outcome
from cierzo.api.openai.wire.common import CostDetails, PromptTokensDetails, Usage
from cierzo.api.state import Service
from cierzo.chat.answers.detokenizer import TokenText
from cierzo.chat.answers.reader import Answer, CallDelta
from cierzo.engine.errors import EngineError, PromptTooLong, QueueFull
from cierzo.engine.messages import StepOutput, TokenLogprobs


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of the answer with its log-probabilities."""

    token: TokenText
    scores: TokenLogprobs


@dataclass(frozen=True, slots=True)
class Delta:
    """What a step added to one choice. Tokens, if asked for, come once all their text has."""

    text: str
    calls: tuple[CallDelta, ...] = ()
    tokens: tuple[ScoredToken, ...] = ()
    prompt_scores: tuple[TokenLogprobs, ...] = ()  # arrive in pieces, before the first text
    finish_reason: Literal["stop", "length", "tool_calls"] | None = None
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


async def generate(service: Service, job: Job, tally: Tally) -> AsyncGenerator[Delta, None]:
    """The deltas of one choice; the last has a finish reason. Closing it aborts the request.

    Raises ApiError for what the engine refuses or cannot finish.
    """
    tokenizer = service.ready().tokenizer
    reader = Answer(
        tokenizer,
        job.format,
        stop=job.params.stop_in_text,
        mid_text=job.mid_text,
        call_ids=job.call_id,
    )
    if not job.shares:
        tally.prompt += len(job.prompt)
    scores: list[TokenLogprobs] = []
    outcome: Outcome = "cancelled"
    clock = _Clock(service)
    called = False
    outputs = service.client.generate(
        job.prompt, job.params, request_id=job.request_id, shares=job.shares
    )
    try:
        async with aclosing(outputs):
            async for output in outputs:
                tally.completion += len(output.token_ids)
                clock.tick(len(output.token_ids))
                scores += output.logprobs or ()
                delta = _delta(output, reader, scores)
                called = called or bool(delta.calls)
                if delta.finish_reason == "stop" and called:
                    delta = dataclasses.replace(delta, finish_reason="tool_calls")
                if delta.finish_reason:
                    outcome = delta.finish_reason
                    tally.cached += output.num_cached_tokens if not job.shares else 0
                yield delta
                if delta.finish_reason:
                    break
    except Exception as error:
        outcome = "refused" if isinstance(error, QueueFull | PromptTooLong) else "error"
        ending = service.stopping or service.client.status.state in ("dead", "stopped")
        answer = as_api_error(error, ending=ending)
        if answer is None:
            raise
        raise answer from error
    finally:
        service.metrics.mark_outcome(outcome)


def _delta(output: StepOutput, reader: Answer, scores: list[TokenLogprobs]) -> Delta:
    ids = output.token_ids
    ended = output.stop_token_id is not None
    step = reader.push(ids[:-1] if ended else ids)
    text, tokens, calls = step.text, step.token_texts, step.calls
    finish: Literal["stop", "length"] | None = None
    if step.stopped:
        finish = "stop"
    elif output.finish_reason is not None:
        if output.finish_reason not in ("stop", "length"):
            raise EngineError(output.error or f"the request ended: {output.finish_reason}")
        rest = reader.finish()
        text, tokens, calls = text + rest.text, tokens + rest.token_texts, calls + rest.calls
        finish = "stop" if rest.stopped or output.finish_reason == "stop" else "length"
    stop_token = None
    if ended and scores and not step.stopped:
        stop_token = ScoredToken(TokenText(len(scores) - 1, ids[-1], "", b"", 0), scores[-1])
    return Delta(
        text,
        calls,
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
