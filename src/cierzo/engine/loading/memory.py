"""How much memory there is, and how it is shared out before anything is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cierzo.backends.cpu.control_groups import control_groups

GIB = 2**30
MIB = 2**20
LARGEST_SHARE = 0.9  # of what is free, for a cache that is needed in any case
USUAL_SHARE = 0.5  # of what is free, for a cache that is as large as it is useful
PROCESS_BYTES = 150 * MIB  # interpreter, libraries, buffers of the operating system


class MemoryPlanError(ValueError):
    """The model, or one request of full length, does not fit. One line with the numbers."""


@dataclass(frozen=True)
class MemoryNeeds:
    """What loading a model will take, and what of it can be chosen."""

    weights_bytes: int  # as laid out in memory
    scratch_bytes: int  # buffers of a step
    block_bytes: int  # one cache block over all layers
    block_size: int  # positions in it
    context: int  # positions that the checkpoint was made for
    max_sequences: int  # more of them than this never run at once


@dataclass(frozen=True)
class MemoryPlan:
    """What was decided."""

    max_model_len: int
    num_blocks: int
    kv_cache_bytes: int
    text: str  # one line for people


def plan_memory(
    needs: MemoryNeeds, *, available: int, max_model_len: int = 0, kv_cache_mb: int = 0
) -> MemoryPlan:
    """Sizes the KV cache. 0 stands for the checkpoint's context, and for a size chosen here.

    The size chosen is what `max_sequences` requests of full length take, or half of the memory
    that is free, whichever is less, but never less than one request takes. Pages of the cache
    that are not used are not touched. Raises MemoryPlanError.
    """
    length = max_model_len or needs.context
    if length > needs.context:
        raise MemoryPlanError(
            f"--max-model-len {length} is more than the context of the checkpoint; "
            f"use {needs.context} or less"
        )
    taken = needs.weights_bytes + needs.scratch_bytes + PROCESS_BYTES
    free = available - taken
    if free <= 0:
        raise MemoryPlanError(
            f"the weights take {_amount(needs.weights_bytes)} of memory and a step "
            f"{_amount(needs.scratch_bytes + PROCESS_BYTES)}, but only {_amount(available)} are "
            "free; close other programs or choose a smaller model or quantisation"
        )
    one = -(-length // needs.block_size) * needs.block_bytes
    largest = int(free * LARGEST_SHARE)
    if kv_cache_mb:
        size = kv_cache_mb * MIB
        if size > largest:
            raise MemoryPlanError(
                f"--kv-cache-memory-mb {kv_cache_mb} does not fit: of {_amount(available)} free, "
                f"weights and a step take {_amount(taken)}; use {largest // MIB} or less"
            )
        limit = f"--kv-cache-memory-mb allows {_amount(size)}"
    else:
        size = max(one, min(one * needs.max_sequences, int(free * USUAL_SHARE)))
        limit = f"of {_amount(available)} free, weights and a step take {_amount(taken)}"
    if one > min(size, largest):
        fits = min(size, largest) // needs.block_bytes * needs.block_size
        advice = (
            f"use --max-model-len {fits} or less, or --kv-cache-dtype int8"
            if fits
            else "give it more memory"
        )
        raise MemoryPlanError(
            f"the KV cache of one request of {length} tokens takes {_amount(one)}, but {limit}; "
            + advice
        )
    num_blocks = size // needs.block_bytes
    return MemoryPlan(
        max_model_len=length,
        num_blocks=num_blocks,
        kv_cache_bytes=num_blocks * needs.block_bytes,
        text=(
            f"weights {_amount(needs.weights_bytes)}, KV cache up to "
            f"{_amount(num_blocks * needs.block_bytes)} for {num_blocks * needs.block_size} tokens "
            f"({length} a request), {_amount(available)} free before loading"
        ),
    )


def available_memory(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes this process may still take: what the machine has free, or its control group allows.

    Page cache counts as free, in both: the kernel gives it up when asked. Where the kernel tells
    nothing of the kind (macOS), it is half of what the machine has.
    """
    if not (proc / "meminfo").exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    available = 0
    for line in (proc / "meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    for group in _group_limits(proc, cgroup):
        available = min(available, max(0, group.limit - group.used))
    return available


class _GroupMemory(NamedTuple):
    """Bytes that a control group may use, and does."""

    limit: int
    used: int


def _group_limits(proc: Path, cgroup: Path) -> list[_GroupMemory]:
    """Each control group that this process is in and that has a limit."""
    limits = []
    for version, group in control_groups("memory", proc, cgroup):
        names = ("memory.max", "memory.current", "inactive_file")
        if version == 1:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        numbers = _group_numbers(group, *names)
        if numbers is not None:
            limits.append(numbers)
    return limits


def _group_numbers(group: Path, limit: str, usage: str, cache: str) -> _GroupMemory | None:
    try:
        allowed = (group / limit).read_text().strip()
        used = int((group / usage).read_text())
        statistics = (group / "memory.stat").read_text().splitlines()
    except OSError:
        return None
    if allowed == "max":
        return None
    reclaimable = sum(int(line.split()[1]) for line in statistics if line.split()[0] == cache)
    return _GroupMemory(int(allowed), used - reclaimable)


def _amount(size: int) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB else f"{size / MIB:.1f} MiB"
