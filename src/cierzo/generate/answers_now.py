"""The answers to jobs without asyncio, by an engine in this process: the twin of `answers`."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.engine.engine import Engine
from cierzo.generate.delta import Delta, DeltaReader
from cierzo.generate.job import Job
from cierzo.generate.refused import refusal_of


def answers_now(
    engine: Engine, jobs: Sequence[Job], tokenizer: Tokenizer, *, at_once: int
) -> Generator[tuple[int, Delta], None, None]:
    """The deltas of all jobs as they come, each with its job's index; a job's last has a finish
    reason.

    No more than `at_once` run together. Closing the iterator ends them. The engine must have
    nothing else to do. Raises Refused for what it refuses or cannot finish.
    """
    waiting = list(enumerate(jobs))[::-1]
    running: dict[str, tuple[int, DeltaReader]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                index, job = waiting.pop()
                engine.add(
                    job.request_id,
                    job.prompt,
                    job.params,
                    cache_salt=job.cache_salt,
                    retain=job.retain,
                    hints=job.hints,
                    prediction=job.prediction,
                )
                running[job.request_id] = (index, DeltaReader(tokenizer, job))
            for output in engine.step():
                index, reader = running[output.request_id]
                delta = reader.read(output)
                if delta.finish_reason is not None:
                    del running[output.request_id]
                    engine.abort(output.request_id)  # a stop string is ours alone to see
                yield index, delta
    except Exception as error:
        refused = refusal_of(error)
        if refused is None:
            raise
        raise refused from error
    finally:
        for request_id in running:
            engine.abort(request_id)
