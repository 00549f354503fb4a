"""The answers to jobs with asyncio: the deltas of all choices in one stream, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.engine.cache.hints import NO_HINTS, Hints
from cierzo.engine.errors import EngineError
from cierzo.engine.messages import StepOutput
from cierzo.engine.sampling_params import SamplingParams
from cierzo.generate.delta import Delta, DeltaReader
from cierzo.generate.job import Job
from cierzo.generate.receipt import ChoiceMeter, Observer, Receipt
from cierzo.generate.refused import Reason, Refused, refusal_of
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.errors import BeginningError, GrammarError


class AsyncEngine(Protocol):
    """What is asked of an engine: `cierzo.engine.process.client.EngineClient` has it."""

    def generate(
        self,
        prompt: Sequence[int],
        params: SamplingParams,
        *,
        request_id: str,
        cache_salt: str = "",
        retain: bool = True,
        hints: Hints = NO_HINTS,
        prediction: Sequence[int] = (),
    ) -> AsyncGenerator[StepOutput, None]:
        """What each step gives the request. Closing it aborts the request."""

    async def check_constraint(self, constraint: Constraint) -> None:
        """Compiles it for a request that is about to come. Raises GrammarError, EngineError."""


async def check_constraints(engine: AsyncEngine, jobs: Sequence[Job]) -> None:
    """Has the engine compile what the answers must look like. Raises Refused if it cannot."""
    for constraint in dict.fromkeys(job.params.constraint for job in jobs):
        if constraint is None:
            continue
        try:
            await engine.check_constraint(constraint)
        except BeginningError as error:
            problem = "the last message begins an answer that the format asked for does not allow"
            raise Refused(Reason.INVALID, problem, ("messages",)) from error
        except GrammarError as error:
            raise Refused(Reason.INVALID, str(error), ("form",)) from error
        except EngineError as error:
            raise Refused(Reason.FAILED, str(error)) from error


async def answers(
    engine: AsyncEngine,
    jobs: Sequence[Job],
    tokenizer: Tokenizer,
    receipt: Receipt,
    *,
    at_once: int,
    observer: Observer | None = None,
) -> AsyncGenerator[tuple[int, Delta], None]:
    """The deltas of all jobs as they come, each with its job's index; a job's last has a finish
    reason.

    No more than `at_once` run together, so that one ask with many jobs does not fill the queue. The
    first error ends them all; so does closing this. `receipt` is filled on the way. Raises Refused
    for what the engine refuses or cannot finish.
    """
    if len(jobs) == 1:
        async with aclosing(_answer(engine, jobs[0], tokenizer, receipt, observer)) as deltas:
            async for delta in deltas:
                yield 0, delta
        return
    places = asyncio.Semaphore(at_once)
    merged: asyncio.Queue[tuple[int, Delta] | Exception | None] = asyncio.Queue(maxsize=len(jobs))

    async def pump(index: int, job: Job) -> None:
        try:
            answer = _answer(engine, job, tokenizer, receipt, observer)
            async with places, aclosing(answer) as deltas:
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


async def _answer(
    engine: AsyncEngine,
    job: Job,
    tokenizer: Tokenizer,
    receipt: Receipt,
    observer: Observer | None,
) -> AsyncGenerator[Delta, None]:
    reader = DeltaReader(tokenizer, job)
    meter = ChoiceMeter(job, receipt, observer)
    outputs = engine.generate(
        job.prompt,
        job.params,
        request_id=job.request_id,
        cache_salt=job.cache_salt,
        retain=job.retain,
        hints=job.hints,
        prediction=job.prediction,
    )
    try:
        async with aclosing(outputs):
            async for output in outputs:
                meter.count(output)
                delta = reader.read(output)
                if delta.finish_reason:
                    meter.outcome = delta.finish_reason
                yield delta
                if delta.finish_reason:
                    break
    except Exception as error:
        refused = refusal_of(error)
        meter.outcome = "error"
        if refused is None:
            raise
        if refused.reason in (Reason.BUSY, Reason.TOO_LONG):
            meter.outcome = "refused"
        raise refused from error
    finally:
        meter.close()
