"""What is computed for each token that sessions are given when memory is short, without a model.

    python -m benchmarks.pressure [--memory 4] [--sessions 2,3,4,6,8,12,16]

Sessions of an agent run at once in the memory that some of them fill: the real scheduler and cache
do all but compute. Each turn resends the history with some new tokens, is answered, and is followed
by a tool's work or, now and then, a person's pause. Time counts in steps.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass, field

import numpy as np

from cierzo.engine.cache.kv_cache import KvCache
from cierzo.engine.sampling_params import SamplingParams
from cierzo.engine.scheduling.prompt_budget import PromptBudget
from cierzo.engine.scheduling.scheduler import Chunk, Scheduler
from cierzo.engine.sequence import Sequence

BLOCK = 32
BUDGET = 64  # tokens of prompts a step
TURNS = 12
SYSTEM = 1_000  # first tokens that all sessions share
LENGTH = SYSTEM + TURNS * 700  # of a session in the end, about


@dataclass
class Session:
    """What one agent has said and heard."""

    number: int
    rng: random.Random
    history: list[int]
    turns: int = 0
    ready_at: int = 0
    asked_at: int = 0

    def ask(self) -> Sequence:
        """The next turn."""
        self.history += self.new(self.rng.randrange(100, 900))
        params = SamplingParams(max_tokens=self.rng.randrange(20, 400))
        sequence = Sequence(f"{self.number}.{self.turns}", self.history, params, max_len=1 << 20)
        sequence.calls_tool = self.rng.random() < 0.85
        return sequence

    def new(self, count: int) -> list[int]:
        """Tokens that nobody else has."""
        first = (1 + self.number) * 1_000_000 + len(self.history)
        return list(range(first, first + count))


@dataclass
class Outcome:
    """What came of a run."""

    computed: int = 0
    least: int = 0  # what had to be computed, in unbounded memory
    delivered: int = 0
    steps: int = 0
    preemptions: int = 0
    waits: list[int] = field(default_factory=list)  # steps until a turn's first token


def simulate(sessions: int, memory: float, seed: int, scheduler_type: type = Scheduler) -> Outcome:
    """Runs sessions to their end in the memory of that many."""
    rng = random.Random(seed)
    cache = KvCache(
        int(memory * LENGTH / BLOCK), BLOCK, lambda source, target: None, worth=_Clock()
    )
    scheduler = scheduler_type(
        cache, max_batch_tokens=512, max_batch_sequences=64, max_logits_rows=64
    )
    system = list(range(SYSTEM))
    waiting = [
        Session(i, random.Random(f"{seed} {i}"), system.copy(), ready_at=rng.randrange(300))
        for i in range(sessions)
    ]
    asked: dict[Sequence, Session] = {}
    outcome = Outcome(least=SYSTEM)
    while waiting or asked:
        if not asked:
            outcome.steps = max(outcome.steps, min(s.ready_at for s in waiting))
        _Clock.now = outcome.steps
        for session in [s for s in waiting if s.ready_at <= outcome.steps]:
            waiting.remove(session)
            before = len(session.history)
            sequence = session.ask()
            session.asked_at = outcome.steps
            outcome.least += len(session.history) - before + sequence.params.max_tokens
            asked[sequence] = session
            scheduler.add(sequence)
        chunks = scheduler.schedule(PromptBudget(BUDGET))
        outcome.computed += sum(chunk.count for chunk in chunks)
        outcome.steps += 1
        for sequence in _carry_out(scheduler, chunks, asked, outcome):
            session = asked.pop(sequence)
            session.history = sequence.tokens[: sequence.num_tokens].tolist()
            session.turns += 1
            outcome.delivered += sequence.num_generated
            if session.turns < TURNS:
                pause = rng.randrange(5, 40) if sequence.calls_tool else rng.randrange(300, 1_500)
                session.ready_at = outcome.steps + pause
                waiting.append(session)
    outcome.preemptions = scheduler.num_preemptions
    return outcome


class _Clock:
    """The worth of a node, as the engine has it, in steps of a tenth of a second."""

    now = 0

    def __call__(self, node: object, sequence: Sequence) -> float:
        return self.now / 10 - (0 if sequence.calls_tool else 300)


def _carry_out(
    scheduler: Scheduler, chunks: list[Chunk], asked: dict[Sequence, Session], outcome: Outcome
) -> list[Sequence]:
    """The engine's part in a step; who ended."""
    ended = []
    for chunk in chunks:
        sequence = chunk.sequence
        sequence.num_computed = chunk.end
        if chunk.end == sequence.num_tokens:
            session = asked[sequence]
            if not sequence.num_generated:
                outcome.waits.append(outcome.steps - session.asked_at)
            sequence.append(session.new(1)[0] + sequence.num_generated)
            if sequence.num_tokens == sequence.max_len:
                scheduler.remove(sequence)
                ended.append(sequence)
        if sequence.started:
            scheduler.cache.publish(sequence)
    return ended


def main() -> None:
    """Parses the command line, runs, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memory", type=float, default=4, help="of so many sessions")
    parser.add_argument("--sessions", default="2,3,4,6,8,12,16")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    print("| sessions | computed / needed | computed / delivered | preemptions | wait, 50% | 95% |")
    print("|---|---|---|---|---|---|")
    for sessions in map(int, args.sessions.split(",")):
        runs = [simulate(sessions, args.memory, seed) for seed in range(args.seeds)]
        computed = sum(run.computed for run in runs)
        waits = np.array([wait for run in runs for wait in run.waits])
        print(
            f"| {sessions} | {computed / sum(run.least for run in runs):.3f} "
            f"| {computed / sum(run.delivered for run in runs):.2f} "
            f"| {sum(run.preemptions for run in runs) / len(runs):.0f} "
            f"| {np.median(waits):.0f} | {np.percentile(waits, 95):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
