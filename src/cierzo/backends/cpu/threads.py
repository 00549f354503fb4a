"""How many threads to compute with unless the settings say, and why so many."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cierzo.backends.cpu.control_groups import control_groups


@dataclass(frozen=True)
class DefaultThreads:
    """So many, because of what `reason` says: "" where it is one for each processor."""

    count: int
    reason: str


def default_threads(root: Path = Path("/")) -> DefaultThreads:
    """One for each fast core that this process may use, and no more than its cgroups' share.

    A second hardware thread of a core adds nothing to kernels that keep its vector unit busy.
    `root` is where /proc and /sys are.
    """
    processors = os.cpu_count() or 1
    if sys.platform == "darwin":
        return _fast_of_macos(processors)
    return choose_threads(processors, os.sched_getaffinity(0), root)


def choose_threads(processors: int, allowed: set[int], root: Path) -> DefaultThreads:
    """Of `processors` in the machine, `allowed` are ours: by affinity, or by a cpuset."""
    count, reason = len(allowed), ""
    if count < processors:
        reason = f"{count} of {processors} processors by affinity"
    cpus = root / "sys" / "devices" / "system" / "cpu"
    fast = allowed - _slow(allowed, root)
    cores = {_siblings(cpu, cpus) for cpu in fast}
    if len(cores) < count:
        kind = "core" if len(fast) == len(allowed) else "fast core"
        count, reason = len(cores), f"one a {kind} of {count} processors"
    quota = _quota(root)
    if quota is not None and (share := _whole(quota)) < count:
        count, reason = share, f"{quota:g} of {processors} processors by the cgroup's quota"
    return DefaultThreads(count, reason)


def _siblings(cpu: int, cpus: Path) -> str:
    """Names the core that a logical processor belongs to."""
    try:
        return (cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _slow(allowed: set[int], root: Path) -> set[int]:
    """Those of less than half of the fastest one's capacity, and Intel's efficiency cores.

    The first chunks of an operation are half of a thread's share. On a core of less than half the
    speed such a chunk ends after all others would have done the whole.
    """
    devices = root / "sys" / "devices"
    atoms = _list_of(devices / "cpu_atom" / "cpus")
    if _list_of(devices / "cpu_core" / "cpus") & allowed:
        return atoms & allowed
    capacity = {}
    for cpu in allowed:
        try:
            text = (devices / "system" / "cpu" / f"cpu{cpu}" / "cpu_capacity").read_text()
            capacity[cpu] = int(text)
        except (OSError, ValueError):
            return set()
    most = max(capacity.values(), default=0)
    return {cpu for cpu, speed in capacity.items() if 2 * speed < most}


def _list_of(file: Path) -> set[int]:
    """Processors as the kernel lists them, such as 0-7,16; none if there is no such file."""
    try:
        text = file.read_text().strip()
    except OSError:
        return set()
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _whole(quota: float) -> int:
    """Threads for such a share: a half and more counts as one.

    More threads than the quota are all stopped for a part of each tenth of a second, and those
    that wait spend it too; fewer leave some of it unused.
    """
    return max(1, int(quota + 0.5))


def _quota(root: Path) -> float | None:
    """Processors that the tightest of the cgroups' limits allows; None without any."""
    found = []
    groups = control_groups("cpu", root / "proc", root / "sys" / "fs" / "cgroup")
    for version, group in groups:
        try:
            if version == 2:
                limit, period = (group / "cpu.max").read_text().split()
            else:
                limit = (group / "cpu.cfs_quota_us").read_text().strip()
                period = (group / "cpu.cfs_period_us").read_text().strip()
        except (OSError, ValueError):
            continue
        if limit not in ("max", "-1"):
            found.append(int(limit) / int(period))
    return min(found, default=None)


def _fast_of_macos(processors: int) -> DefaultThreads:
    """Its performance cores, which are named so on Apple's own processors only."""
    command = ["/usr/sbin/sysctl", "-n", "hw.perflevel0.physicalcpu"]
    try:
        count = int(subprocess.run(command, capture_output=True, check=True, timeout=5).stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return DefaultThreads(processors, "")
    return DefaultThreads(count, f"one a fast core of {processors} processors")
