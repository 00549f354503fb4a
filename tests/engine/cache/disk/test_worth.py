"""What can be read again goes before what must be computed, if that costs so much less."""

from __future__ import annotations

from pathlib import Path

import pytest

from cierzo.engine.cache.eviction import REPLACED, goes_first
from cierzo.engine.cache.prefix_tree import Node
from cierzo.engine.engine import Engine
from cierzo.engine.sampling_params import SamplingParams
from cierzo.engine.sequence import Sequence
from tests.engine.cache.disk.test_tier import opened, written
from tests.engine.models import Request, random_prompt, run

ONE = SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True)
LENGTH = 6 * 32  # tokens
NUM_BLOCKS = 20
OLD, YOUNG = random_prompt(90, LENGTH), random_prompt(91, LENGTH)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kv"


def last(engine: Engine, prompt: list[int]) -> Node:
    """As much of a prompt as is in memory."""
    return engine.cache.find(Sequence("s", [*prompt, 0], ONE, max_len=10_000))


def fill(engine: Engine, *, also_disk: bool) -> None:
    """Leaves two prompts in memory, and the younger one alone on disk; and others there, if the
    disk is to be larger than memory."""
    disk = engine.cache.disk
    assert disk is not None
    others = [random_prompt(seed, LENGTH) for seed in range(4 if also_disk else 0)]
    for prompt in (*others, *others, OLD, YOUNG):  # the second time, others are read
        run(engine, {"r": Request(prompt, ONE)})
        written(engine)
    assert (disk.num_blocks >= NUM_BLOCKS) == also_disk
    for node in last(engine, OLD).path()[::-1]:
        disk.erase(node)
    written(engine)
    assert [disk.holds(last(engine, prompt)) for prompt in (OLD, YOUNG)] == [False, True]


def left(engine: Engine) -> tuple[int, int]:
    """How many blocks of each are left when all but eight blocks are needed for something else."""
    for _ in range(NUM_BLOCKS - 8):
        assert engine.cache.take() is not None
    return last(engine, OLD).depth, last(engine, YOUNG).depth


@pytest.mark.parametrize(
    ("seconds_per_token", "also_disk", "blocks"),
    [(1e3, True, (6, 2)), (1e-12, True, (2, 6)), (1e3, False, (2, 6))],
    ids=["reading is faster", "computing is faster", "the disk is smaller than memory"],
)
def test_which_goes_first(
    model_path: Path,
    folder: Path,
    seconds_per_token: float,
    also_disk: bool,
    blocks: tuple[int, int],
) -> None:
    with opened(model_path, folder, num_blocks=NUM_BLOCKS) as engine:
        assert engine.cache.disk is not None
        fill(engine, also_disk=also_disk)
        engine.cache.disk.join(engine.progress.notify, lambda: seconds_per_token)
        assert left(engine) == blocks


def leaf(worth: float) -> Node:
    return Node(None, b"", 0, worth=worth)


def test_cost_is_held_against_age() -> None:
    now = 1_000.0
    old = leaf(now - 100)
    assert goes_first(leaf(now - 11), old, 0.1, now)
    assert not goes_first(leaf(now - 9), old, 0.1, now)
    assert goes_first(leaf(now + 500), old, 0.0, now)  # its speed is not known yet
    assert not goes_first(leaf(now - 99), old, 1.0, now)
    assert not goes_first(leaf(now - 99), leaf(REPLACED), 0.0, now)
