"""What a step computes, as `StepCosts` counts it: of its chunks, and before there are any."""

from __future__ import annotations

from collections.abc import Iterable

from cierzo.engine.scheduling.scheduler import Chunk
from cierzo.engine.sequence import Sequence
from cierzo.engine.step_costs import StepCosts, Work


def work_of(chunks: Iterable[Chunk]) -> Work:
    """The work of a step."""
    sequences = drafted = context = prompt_tokens = num_logits = 0
    prompt_context = 0.0
    for chunk in chunks:
        num_logits += chunk.num_logits
        if chunk.sequence.is_decoding:
            sequences += 1
            drafted += chunk.count - 1
            context += chunk.end
        else:
            prompt_tokens += chunk.count
            prompt_context += chunk.count * (chunk.start + chunk.end) / 2
    return Work(sequences, drafted, context, prompt_tokens, prompt_context, num_logits > 0)


def decodes_of(running: Iterable[Sequence]) -> Work:
    """The work of a step of those alone that decode."""
    decoding = [s for s in running if s.num_pending > 0 and s.is_decoding]
    return Work(
        len(decoding),
        sum(s.num_pending - 1 + s.num_draft for s in decoding),
        sum(s.num_tokens for s in decoding),
    )


def depth_of(running: Iterable[Sequence]) -> int:
    """How far prompts are read that are being read, on average."""
    read = [s.num_computed for s in running if s.num_pending > 1 and not s.is_decoding]
    return sum(read) // len(read) if read else 0


class Expected:
    """What a step is expected to take."""

    def __init__(self, chunks: list[Chunk], costs: StepCosts) -> None:
        self.request_ids = frozenset(chunk.sequence.request_id for chunk in chunks)
        self._chunks, self._costs = chunks, costs

    def seconds_without(self, request_ids: frozenset[str]) -> float:
        """What it would take without some of its requests; as long as nothing is known, in no
        unit."""
        left = [c for c in self._chunks if c.sequence.request_id not in request_ids]
        if not self._costs.known:
            return sum(chunk.count for chunk in left)
        return self._costs.seconds(work_of(left)) if left else 0.0
