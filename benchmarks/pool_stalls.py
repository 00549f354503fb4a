"""Stalls of a core: recorded on this machine, or made up."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

GAP = 20_000  # ns: what is shorter is the clock's own doing


@dataclass(frozen=True)
class Core:
    """When a core does nothing for us, in ns from the start, and how fast it is otherwise."""

    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    speed: float = 1.0
    # A process is what keeps it: the system moves our first thread off it, if another core is free.
    by_process: bool = False

    def running_at(self, now: int) -> int:
        """The first moment from `now` on at which it works."""
        i = bisect_right(self.starts, now) - 1
        return self.ends[i] if i >= 0 and now < self.ends[i] else now

    def after(self, now: int, work: int) -> int:
        """When so much work is done that begins at `now`, a moment at which it works."""
        left = int(work / self.speed)
        i = bisect_right(self.starts, now)
        while i < len(self.starts) and now + left > self.starts[i]:
            left -= self.starts[i] - now
            now = self.ends[i]
            i += 1
        return now + left


def record(cpu: int, seconds: float) -> Core:
    """Spins on one processor and notes when time has passed without it."""
    os.sched_setaffinity(0, {cpu})
    clock = time.perf_counter_ns
    began = last = clock()
    end = began + int(seconds * 1e9)
    core = Core()
    while last < end:
        now = clock()
        if now - last > GAP:
            core.starts.append(last - began)
            core.ends.append(now - began)
        last = now
    return core


def stalls(
    random_: random.Random, until: int, length: Callable[[], float], gap: Callable[[], float]
) -> Core:
    """A core that is taken away for `length()` ns every `gap()`, by its hypervisor."""
    core, now = Core(), random_.random() * gap()
    while now < until:
        taken = length()
        core.starts.append(int(now))
        core.ends.append(int(now + taken))
        now += taken + max(1.0, gap())
    return core


def stolen(seed: int, share: float, length_ms: float, until: int) -> Core:
    """Such a share of the time is taken in pieces of about one length, at random."""
    chance = random.Random(seed)
    length = length_ms * 1e6
    return stalls(
        chance,
        until,
        lambda: length * chance.uniform(0.7, 1.3),
        lambda: chance.expovariate(share / (length * (1 - share))),
    )


def burned(seed: int, until: int, slice_ms: float = 3.0, on: float = 1e18, off: float = 0) -> Core:
    """Shares the core with a process, slice by slice, that runs for `on` ns and waits for `off`."""
    chance = random.Random(seed)
    core, now = Core(by_process=True), chance.random() * slice_ms * 1e6
    while now < until:
        if now % (on + off) >= on:
            now += on + off - now % (on + off)
            continue
        taken = slice_ms * 1e6 * chance.uniform(0.8, 1.2)
        core.starts.append(int(now))
        core.ends.append(int(now + taken))
        now += taken + slice_ms * 1e6 * chance.uniform(0.8, 1.2)
    return core


def main() -> None:
    """Writes a processor's stalls as lines of: start, end, in ns."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("cpu", type=int)
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    core = record(arguments.cpu, arguments.seconds)
    for start, end in zip(core.starts, core.ends, strict=True):
        sys.stdout.write(f"{start} {end}\n")


if __name__ == "__main__":
    main()
