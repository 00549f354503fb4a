"""The memory plan: sizes that fit, and refusals that give the numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cierzo.engine.loading.memory import (
    GIB,
    PROCESS_BYTES,
    MemoryNeeds,
    MemoryPlanError,
    available_memory,
    plan_memory,
)

# Devstral Small at Q4_K_M: 160 KiB a token in 16 bits.
DEVSTRAL = MemoryNeeds(
    weights_bytes=15 * GIB,
    scratch_bytes=GIB // 4,
    block_bytes=32 * 160 * 1024,
    block_size=32,
    context=131_072,
    max_sequences=64,
)
SMALL = MemoryNeeds(
    weights_bytes=GIB // 10,
    scratch_bytes=GIB // 20,
    block_bytes=32 * 23_040,
    block_size=32,
    context=8_192,
    max_sequences=4,
)


def test_what_does_not_fit_is_refused_with_the_numbers_and_a_length_that_does() -> None:
    with pytest.raises(MemoryPlanError) as caught:
        plan_memory(DEVSTRAL, available=22 * GIB)
    text = str(caught.value)
    assert "131072 tokens takes 20.00 GiB" in text
    assert "of 22.00 GiB free, weights and a step take 15.40 GiB" in text
    length = int(text.partition("--max-model-len ")[2].partition(" ")[0])
    plan = plan_memory(DEVSTRAL, available=22 * GIB, max_model_len=length)
    assert plan.max_model_len == length
    with pytest.raises(MemoryPlanError):
        plan_memory(DEVSTRAL, available=22 * GIB, max_model_len=length + 32)


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(MemoryPlanError, match=r"weights take 15.00 GiB .* only 12.00 GiB are free"):
        plan_memory(DEVSTRAL, available=12 * GIB)


def test_no_more_cache_than_is_useful() -> None:
    plan = plan_memory(SMALL, available=64 * GIB)
    assert plan.num_blocks == 4 * 8_192 // 32
    assert plan.kv_cache_bytes == plan.num_blocks * SMALL.block_bytes
    assert "32768 tokens (8192 a request)" in plan.text


def test_half_of_what_is_free_when_more_would_be_useful() -> None:
    plan = plan_memory(SMALL, available=GIB)
    free = GIB - SMALL.weights_bytes - SMALL.scratch_bytes - PROCESS_BYTES
    assert plan.num_blocks == free // 2 // SMALL.block_bytes


def test_a_wish_is_followed_if_it_can_be() -> None:
    plan = plan_memory(SMALL, available=GIB, kv_cache_mb=300)
    assert plan.num_blocks == 300 * 2**20 // SMALL.block_bytes
    with pytest.raises(MemoryPlanError, match=r"--kv-cache-memory-mb 900 does not fit"):
        plan_memory(SMALL, available=GIB, kv_cache_mb=900)
    with pytest.raises(MemoryPlanError, match=r"allows 100.0 MiB; use --max-model-len 4544 or"):
        plan_memory(SMALL, available=GIB, kv_cache_mb=100)


def test_longer_than_the_checkpoint_was_made_for() -> None:
    with pytest.raises(MemoryPlanError, match="use 8192 or less"):
        plan_memory(SMALL, available=64 * GIB, max_model_len=8_193)


def system(tmp_path: Path, groups: str) -> tuple[Path, Path]:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 32000000 kB\nMemAvailable:   16000000 kB\n")
    (proc / "self" / "cgroup").write_text(groups)
    return proc, cgroup


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_without_limits_what_the_machine_has(tmp_path: Path) -> None:
    assert available_memory(*system(tmp_path, "0::/\n")) == 16_000_000 * 1024


def test_the_tightest_group_counts_and_page_cache_does_not(tmp_path: Path) -> None:
    proc, cgroup = system(tmp_path, "0::/a/b\n")
    stat = "anon 5\ninactive_file 2000000\n"
    group(cgroup / "a" / "b", memory__max="max\n", memory__current="9\n", memory__stat=stat)
    group(cgroup / "a", memory__max="9000000\n", memory__current="4000000\n", memory__stat=stat)
    assert available_memory(proc, cgroup) == 7_000_000


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    proc, cgroup = system(tmp_path, "12:cpu,cpuacct:/x\n4:memory:/x\n")
    group(
        cgroup / "memory" / "x",
        memory__limit_in_bytes="5000000\n",
        memory__usage_in_bytes="3000000\n",
        memory__stat="total_inactive_file 1000000\n",
    )
    assert available_memory(proc, cgroup) == 3_000_000


def test_a_container_that_sees_its_group_at_the_root(tmp_path: Path) -> None:
    proc, cgroup = system(tmp_path, "0::/outside/path\n")
    stat = "inactive_file 0\n"
    group(cgroup, memory__max="8000\n", memory__current="3000\n", memory__stat=stat)
    assert available_memory(proc, cgroup) == 5_000


def test_this_machine() -> None:
    assert available_memory() > 2**20
