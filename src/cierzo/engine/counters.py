"""What the engine counts, and the numbers that it tells."""

from __future__ import annotations

from dataclasses import dataclass

from cierzo.backends.ops import Threads
from cierzo.engine.drafts.draft import Origin
from cierzo.engine.messages import EngineStats
from cierzo.engine.scheduling.scheduler import Scheduler


@dataclass
class Counters:
    """Since the engine started; see `EngineStats`."""

    requests: int = 0
    finished: int = 0
    aborted: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    computed_tokens: int = 0
    generated_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    drafted_predicted: int = 0
    accepted_predicted: int = 0
    drafted_recent: int = 0
    accepted_recent: int = 0
    steps: int = 0
    step_seconds: float = 0.0

    def note_draft(self, origin: Origin, drafted: int, accepted: int) -> None:
        """So many tokens were tried, so many of them right, copied from there."""
        self.drafted_tokens += drafted
        self.accepted_tokens += accepted
        if origin == Origin.PREDICTION:
            self.drafted_predicted += drafted
            self.accepted_predicted += accepted
        elif origin == Origin.RECENT:
            self.drafted_recent += drafted
            self.accepted_recent += accepted


def stats_of(counters: Counters, scheduler: Scheduler, threads: Threads) -> EngineStats:
    """Gauges of now, and counters since the start."""
    cache = scheduler.cache
    disk = cache.disk.told() if cache.disk is not None else {}
    return EngineStats(
        running=len(scheduler.running),
        waiting=len(scheduler.waiting),
        free_blocks=cache.num_available,
        cached_blocks=cache.num_cached,
        evicted_blocks=cache.num_evicted,
        num_blocks=cache.num_blocks,
        threads=threads.all,
        threads_in_use=threads.in_use,
        preemptions=scheduler.num_preemptions,
        **vars(counters),
        **disk,
    )
