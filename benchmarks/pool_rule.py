"""Judges the thread pool's rule by simulation: who rests, and what it costs or gains.

Drives the rule itself (`native/runtime/rest_rule.h`) through a model of the pool, event by event,
over stalls that are made up or were recorded with `benchmarks.pool_stalls`. Shown is the
throughput as a share of the best that any fixed number of threads reaches (the oracle, who knows
which cores to leave out).
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.pool_stalls import Core, burned, stolen
from cierzo import _native

MS = 1_000_000
NOBODY = -1


@dataclass(frozen=True)
class Load:
    """The steps that are computed: phases cut into chunks, and pauses between."""

    phase: int  # ns that a phase takes one undisturbed thread, for each of the pool's
    smallest: int = 12  # a chunk is this part of a thread's share of a phase, at least
    phases: int = 100  # in a step
    pause: int = 150_000  # ns between steps
    wake: Callable[[], int] = lambda: 0  # ns by which a worker comes late to a step


class Never:
    """The rule of a pool whose threads never rest."""

    def __init__(self, threads: int) -> None:
        """As the real one."""
        self.active = threads

    def step_begins(self, now: int) -> None:
        """Nothing."""

    def step_ends(self, now: int) -> None:
        """Nothing."""

    def late(self, thread: int, now: int, lost: int) -> int:
        """Nobody rests."""
        return NOBODY

    def due(self, now: int) -> int:
        """Nobody comes back."""
        return NOBODY


class Former(Never):
    """About the rule until November 2026: the last thread rests where much of the time is lost.

    Whoever lost it: with a share f of the time lost, n threads do n (1 - f), and one less n - 1.
    """

    def __init__(self, threads: int) -> None:
        """As the real one."""
        super().__init__(threads)
        self._threads, self._begin, self._window, self._lost, self._until = threads, 0, 50, 0.0, 0

    def late(self, thread: int, now: int, lost: int) -> int:
        """Judges every 50 ms, 15 ms after a thread has come back."""
        self._lost += lost / max(1, self.active - 1)
        passed, total = now - self._begin, self._lost
        if passed < self._window * MS:
            return NOBODY
        self._begin, self._window, self._lost = now, 50, 0.0
        if self.active == 1 or 5 * total * self.active <= 4 * passed:
            return NOBODY
        self.active -= 1
        self._until = now + 200 * MS
        return self.active

    def due(self, now: int) -> int:
        """One comes back every 200 ms."""
        if self.active == self._threads or now < self._until:
            return NOBODY
        self._begin, self._window, self._lost, self._until = now, 15, 0.0, now + 200 * MS
        self.active += 1
        return self.active - 1


Rule = _native.RestRule | Never


class Pool:
    """A model of `native/runtime/thread_pool.cpp`: thread i on core i."""

    def __init__(
        self,
        cores: list[Core],
        rule: Rule,
        load: Load,
        rests: Iterable[int] = (),
    ) -> None:
        """`rule` says who rests; `rests` at the beginning."""
        self.cores, self.rule, self.load = cores, rule, load
        self.now = 0
        self.rests = set(rests)
        self.rested = 0  # ns, of all threads
        self.free = [0] * len(cores)

    def throughput(self, until: int) -> float:
        """Runs steps; work done over time, in cores."""
        done = 0
        while self.now < until:
            done += self._step()
        return done / self.now

    def _step(self) -> int:
        self.rule.step_begins(self.now)
        begin = self.now
        self.free = [begin + (self.load.wake() if i else 0) for i in range(len(self.cores))]
        longest = [0] * len(self.cores)
        for _ in range(self.load.phases):
            self._come_back()
            before = self.now
            self._phase(longest)
            self.rested += len(self.rests) * (self.now - before)
        self.rule.step_ends(self.now)
        # The caller's own work between steps.
        core = self._core(0)
        self.now = core.after(core.running_at(self.now), self.load.pause)
        return self.load.phases * self.load.phase * len(self.cores)

    def _come_back(self) -> None:
        if self.rests and (thread := self.rule.due(self.now)) != NOBODY:
            self.rests.discard(thread)
            self.free[thread] = self.now

    def _core(self, thread: int) -> Core:
        """Thread 0 is moved to a core that rests, if a process is in its way."""
        if thread == 0 and self.rests and self.cores[0].by_process:
            return self.cores[max(self.rests)]
        return self.cores[thread]

    def _sizes(self) -> Iterator[int]:
        """Chunks take a share of what is left, as a product's ranges do."""
        threads = len(self.cores)
        left = self.load.phase * threads
        smallest = left // (self.load.smallest * threads)
        while left > 0:
            size = min(left, max(smallest, left // (2 * threads)))
            yield size
            left -= size

    def _phase(self, longest: list[int]) -> None:
        opened = self.now
        ready = [
            (self._core(i).running_at(max(opened, self.free[i])), i)
            for i in range(len(self.cores))
            if i not in self.rests
        ]
        heapq.heapify(ready)
        since: dict[int, int] = {}
        taken = [0] * len(self.cores)
        end, last = 0, 0
        for size in self._sizes():
            now, thread = heapq.heappop(ready)
            since.setdefault(thread, now)
            taken[thread] += 1
            finish = self._core(thread).after(now, size)
            if finish > end:
                end, last = finish, thread
            heapq.heappush(ready, (finish, thread))
        lost = 0
        for arrived, thread in ready:
            self.free[thread] = max(arrived, self.free[thread])
            chunk_time = longest[thread]
            if thread in since:
                chunk_time = 2 * (arrived - since[thread]) // max(2, taken[thread])
                longest[thread] = max(longest[thread], chunk_time)
            if chunk_time > 0 and end - arrived > _native.RestRule.LATE + chunk_time:
                lost += end - arrived
        self.now = end
        if lost and end - since[last] > _native.RestRule.LATE:
            rests = self.rule.late(last, end, lost)
            if rests != NOBODY:
                self.rests.add(rests)


@dataclass(frozen=True)
class Verdict:
    """Throughputs in cores, and how many threads rested on average."""

    always: float  # all threads
    one_less: float  # without the core that is taken away most
    oracle: float  # the best number of threads
    former: float
    rule: float
    resting: float


def judge(cores: list[Core], load: Load, until: int) -> Verdict:
    """The same load by the rule, and by pools that know beforehand whom to leave out."""
    taken = [sum(c.ends) - sum(c.starts) + (1 - c.speed) * until for c in cores]
    if cores[0].by_process:  # whoever rests in place of the first thread
        taken[-1] = max(taken)
    order = sorted(range(1, len(cores)), key=lambda i: -taken[i])
    n = len(cores)
    disturbed = max(1, sum(time > 0.1 * until for time in taken))
    speeds = {
        count: Pool(cores, Never(n), load, order[:count]).throughput(until)
        for count in {0, 1, min(disturbed, n - 1)}
    }
    pool = Pool(cores, _native.RestRule(n), load)
    rule = pool.throughput(until)
    best = max(speeds.values())
    former = Pool(cores, Former(n), load).throughput(until)
    return Verdict(speeds[0], speeds[1], best, former, rule, pool.rested / pool.now)


def scenarios(until: int) -> Iterator[tuple[str, list[Core]]]:
    """What cores go through."""
    idle = Core()
    yield "2, quiet", [idle] * 2
    for share in (0.05, 0.15, 0.3):
        for where in ("one core", "both"):
            for length in (0.33, 5.0):
                cores = [stolen(s, share, length, until) for s in range(2)]
                if where == "one core":
                    cores[0] = idle
                yield f"2, {share:.0%} stolen of {where}, {length:g} ms each", cores
    yield "2, 30% stolen of the first core, 0.33 ms each", [stolen(1, 0.3, 0.33, until), idle]
    yield "2, a stall of 30 ms each second", [idle, stolen(1, 0.03, 30, until)]
    yield "2, beside a hyperthread", [idle, Core(speed=0.5)]
    yield "2, a process on the second core", [idle, burned(1, until)]
    yield "2, a process on the first core", [burned(1, until), idle]
    yield "2, two processes on the second core", [idle, stolen(1, 0.67, 6, until)]
    yield "2, a process, 10 ms of 50", [idle, burned(1, until, on=10 * MS, off=40 * MS)]
    yield "2, a process, 1 s of 2", [idle, burned(1, until, on=1000 * MS, off=1000 * MS)]
    yield "4, 30% stolen of the first core", [stolen(1, 0.3, 0.33, until), *[idle] * 3]
    yield "4, 10% stolen of each", [stolen(s, 0.1, 0.33, until) for s in range(4)]
    yield "16, quiet but for 1 ms a second of each", [stolen(s, 0.001, 1, until) for s in range(16)]
    yield "64, quiet but for 1 ms a second of each", [stolen(s, 0.001, 1, until) for s in range(64)]
    yield "64, 3 ms each 10 s of each", [stolen(s, 0.0003, 3, until) for s in range(64)]
    yield "64, a process on one core", [*[idle] * 63, burned(1, until)]
    yield "64, a process on the first core", [burned(1, until), *[idle] * 63]
    yield "64, processes on eight cores", [*[idle] * 56, *(burned(s, until) for s in range(8))]
    yield "64, 10% stolen of one core", [*[idle] * 63, stolen(1, 0.1, 0.33, until)]


def recorded(files: list[str]) -> Iterator[tuple[str, list[Core]]]:
    """A file for each core, as `benchmarks.pool_stalls` writes them."""
    cores = []
    for name in files:
        lines = [line.split() for line in Path(name).read_text().splitlines()]
        cores.append(Core([int(a) for a, _ in lines], [int(b) for _, b in lines]))
    yield f"{len(files)}, recorded", cores


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="simulated, for 2 threads")
    parser.add_argument("--only", default="", help="scenarios with this in their names")
    parser.add_argument("--cores", nargs="+", help="files of recorded stalls, one a core")
    arguments = parser.parse_args()
    chance = random.Random(7)
    loads = {
        "decode": Load(phase=12_000, phases=180, wake=lambda: int(chance.expovariate(1 / 50_000))),
        "prompt": Load(phase=2_000_000, phases=60),
    }
    until = int(arguments.seconds * 1e9)
    found = recorded(arguments.cores) if arguments.cores else scenarios(until)
    print("| threads, what happens | steps | all | one less | former | rule | of the best | rest |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for name, cores in found:
        if arguments.only not in name:
            continue
        for kind, load in loads.items():
            if len(cores) > 4 and kind == "decode":
                slower = replace(load, phase=100_000)  # a larger model: fewer events
                v = judge(cores, slower, until // 5)
            else:
                v = judge(cores, load, until if len(cores) <= 4 else until // 5)
            print(
                f"| {name} | {kind} | {v.always:.2f} | {v.one_less:.2f} | {v.former:.2f} "
                f"| {v.rule:.2f} | {v.rule / v.oracle:.1%} | {v.resting:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
