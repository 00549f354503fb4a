"""How many threads to compute with unless the settings say."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")
_CGROUP = Path("/sys/fs/cgroup")


def default_threads() -> int:
    """Physical cores among those this process may use, and no more than its cgroup's share.

    A second hardware thread of a core adds nothing to kernels that keep its vector unit busy.
    """
    if sys.platform != "linux":  # there is nothing to ask, but how many there are
        return os.cpu_count() or 1
    cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
    return max(1, min(len(cores), _quota()))


def _siblings(cpu: int) -> str:
    """Names the core that a logical processor belongs to."""
    try:
        return (_CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota() -> int:
    """Whole processors that the cgroup's limit allows, rounded up; many when there is none."""
    try:
        limit, period = (_CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (_CGROUP / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (_CGROUP / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return 1024
    if limit in ("max", "-1"):
        return 1024
    return max(1, math.ceil(int(limit) / int(period)))
