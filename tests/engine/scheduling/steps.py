"""A scheduler of small bounds, and the engine's part in a step without a model."""

from __future__ import annotations

from typing import Any

from cierzo.engine.cache.kv_cache import KvCache
from cierzo.engine.sampling_params import SamplingParams
from cierzo.engine.scheduling.prompt_budget import PromptBudget
from cierzo.engine.scheduling.scheduler import Chunk, Scheduler
from cierzo.engine.sequence import Sequence

BLOCK = 4


def make(
    blocks: int = 100, tokens: int = 16, sequences: int = 4, rows: int | None = None
) -> Scheduler:
    return Scheduler(
        KvCache(blocks, BLOCK, lambda source, target: None),
        max_batch_tokens=tokens,
        max_batch_sequences=sequences,
        max_logits_rows=rows or sequences,
    )


def sequence(
    name: str, prompt: int, answer: int = 4, *, salt: str | None = None, **params: Any
) -> Sequence:
    """Its prompt is the beginning of all others', but is shared only where `salt` is."""
    return Sequence(
        name,
        range(prompt),
        SamplingParams(max_tokens=answer, **params),
        max_len=10_000,
        cache_salt=name if salt is None else salt,
    )


def carry_out(scheduler: Scheduler, chunks: list[Chunk]) -> list[Sequence]:
    """Does what the engine does after a step; gives the sequences that ended."""
    ended = []
    for chunk in chunks:
        seq = chunk.sequence
        seq.num_computed = chunk.end
        if seq.wants_prompt_logprobs and chunk.num_logits:
            assert chunk.logits_from == seq.num_prompt_logprobs
            seq.num_prompt_logprobs = min(chunk.end, seq.num_prompt - 1)
        if chunk.end == seq.num_tokens:
            assert chunk.num_logits >= 1
            seq.prompt_read = True
            seq.append(7)
            if seq.num_tokens == seq.max_len:
                scheduler.remove(seq)
                ended.append(seq)
        if seq.started:
            scheduler.cache.publish(seq)
    return ended


def step(scheduler: Scheduler, budget: int = 1_000) -> list[str]:
    """One step; names of those that ended with it."""
    return [
        seq.request_id for seq in carry_out(scheduler, scheduler.schedule(PromptBudget(budget)))
    ]


def drain(scheduler: Scheduler, budget: int = 1_000) -> list[str]:
    """Runs until nothing is left; names in order of ending."""
    order = []
    while chunks := scheduler.schedule(PromptBudget(budget)):
        order += [seq.request_id for seq in carry_out(scheduler, chunks)]
    return order
