"""How many threads by default, on made-up machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cierzo.backends.cpu.threads import choose_threads, default_threads


class Machine:
    """A tree of /proc and /sys."""

    def __init__(self, root: Path, processors: int, siblings: int = 1) -> None:
        """`siblings` hardware threads a core, numbered as Linux does: second ones last."""
        self.root, self.processors = root, processors
        cores = processors // siblings
        for cpu in range(processors):
            core = ",".join(str(cpu % cores + cores * i) for i in range(siblings))
            self.write(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", core)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    def quota(self, group: str, text: str) -> None:
        self.write(f"sys/fs/cgroup/{group}/cpu.max", text)

    def capacity(self, cpu: int, value: int) -> None:
        self.write(f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity", str(value))

    def choose(self, *allowed: int) -> tuple[int, str]:
        chosen = choose_threads(self.processors, set(allowed or range(self.processors)), self.root)
        return chosen.count, chosen.reason


def test_one_for_each_processor_needs_no_words(tmp_path: Path) -> None:
    assert Machine(tmp_path, 8).choose() == (8, "")


def test_one_a_core(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 16, siblings=2)
    assert machine.choose() == (8, "one a core of 16 processors")
    assert machine.choose(0, 8) == (1, "one a core of 2 processors")


def test_affinity(tmp_path: Path) -> None:
    assert Machine(tmp_path, 64).choose(3, 5) == (2, "2 of 64 processors by affinity")


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert choose_threads(4, {0, 1, 2}, tmp_path).count == 3


@pytest.mark.parametrize(
    ("limit", "count", "told"),
    [("200000", 2, "2"), ("150000", 2, "1.5"), ("140000", 1, "1.4"), ("5000", 1, "0.05")],
)
def test_a_quota(tmp_path: Path, limit: str, count: int, told: str) -> None:
    machine = Machine(tmp_path, 64)
    machine.write("proc/self/cgroup", "0::/")
    machine.quota("", f"{limit} 100000")
    assert machine.choose() == (count, f"{told} of 64 processors by the cgroup's quota")


def test_the_tightest_quota_of_nested_groups_counts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 64)
    machine.write("proc/self/cgroup", "0::/pods/one/server")
    machine.quota("pods/one/server", "max 100000")
    machine.quota("pods/one", "300000 100000")
    machine.quota("pods", "800000 100000")
    machine.quota("others", "100000 100000")
    assert machine.choose()[0] == 3


def test_a_container_that_sees_its_group_at_the_root(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 64)
    machine.write("proc/self/cgroup", "0::/outside/path")
    machine.quota("", "400000 100000")
    assert machine.choose()[0] == 4


@pytest.mark.parametrize("mounted", ["cpu", "cpu,cpuacct"])
def test_quotas_of_version_1(tmp_path: Path, mounted: str) -> None:
    machine = Machine(tmp_path, 64)
    machine.write("proc/self/cgroup", "4:memory:/m\n3:cpu,cpuacct:/docker/a\n2:cpuset:/docker/a")
    group = f"sys/fs/cgroup/{mounted}/docker"
    machine.write(f"{group}/a/cpu.cfs_quota_us", "-1")
    machine.write(f"{group}/a/cpu.cfs_period_us", "100000")
    machine.write(f"{group}/cpu.cfs_quota_us", "250000")
    machine.write(f"{group}/cpu.cfs_period_us", "50000")
    assert machine.choose() == (5, "5 of 64 processors by the cgroup's quota")


def test_a_quota_that_allows_all_says_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 4)
    machine.write("proc/self/cgroup", "0::/")
    machine.quota("", "800000 100000")
    assert machine.choose() == (4, "")


def test_efficiency_cores_of_intel_are_left_out(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 12)
    for cpu in range(4):
        machine.write(
            f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list",
            "0-1" if cpu < 2 else "2-3",
        )
    machine.write("sys/devices/cpu_core/cpus", "0-3")
    machine.write("sys/devices/cpu_atom/cpus", "4-11")
    assert machine.choose() == (2, "one a fast core of 12 processors")
    assert machine.choose(*range(4, 12)) == (8, "8 of 12 processors by affinity")


def test_cores_of_less_than_half_the_capacity_are_left_out(tmp_path: Path) -> None:
    machine = Machine(tmp_path, 8)
    for cpu, capacity in enumerate((250, 250, 250, 250, 870, 870, 870, 1024)):
        machine.capacity(cpu, capacity)
    assert machine.choose() == (4, "one a fast core of 8 processors")
    assert machine.choose(0, 1) == (2, "2 of 8 processors by affinity")


def test_this_machine() -> None:
    allowed = os.sched_getaffinity(0)
    assert 1 <= default_threads().count <= len(allowed)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert default_threads().count == 1
    finally:
        os.sched_setaffinity(0, allowed)
