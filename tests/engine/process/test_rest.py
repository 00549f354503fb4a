"""An engine that nobody asks gives memory back, and computes nothing for it afterwards."""

from __future__ import annotations

import os
import queue
from pathlib import Path

import numpy as np
import pytest

from cierzo import _native
from cierzo.engine.engine import Engine
from cierzo.engine.messages import Add, ClearCache, Ping
from cierzo.engine.process import main
from cierzo.engine.process.main import Inbox, Loop
from cierzo.engine.process.rest import Rest
from cierzo.engine.sampling_params import SamplingParams
from tests.engine.models import Request, make_engine, random_prompt, run, write_model

GREEDY = SamplingParams(max_tokens=4, temperature=0.0, ignore_eos=True)
PROMPTS = [random_prompt(seed, 900) for seed in range(8)]
ASKED = {str(at): Request(prompt, GREEDY) for at, prompt in enumerate(PROMPTS)}
BLOCK = 32_768  # bytes


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def used(path: Path, folder: Path | None) -> Engine:
    """An engine that has answered, and has on disk what it can have there."""
    engine = make_engine(path, disk=folder)
    if engine.cache.disk is not None:
        engine.cache.disk.join(engine.progress.notify, lambda: 0.0)  # always tries the disk
    run(engine, ASKED)
    while engine.cache.disk is not None and engine.cache.disk.is_saving:
        engine.stats()
    return engine


def test_memory_of_blocks_goes_back_to_the_system() -> None:
    cache = _native.KvCache(layers=3, blocks=100, kv_heads=4, head_dim=64, dtype="int16")
    data = np.random.default_rng(1).integers(0, 256, cache.block_bytes, np.uint8)
    before = resident()
    for block in range(100):
        cache.write_block(block, data)
    full = resident()
    assert full - before >= 95 * cache.block_bytes
    kept = range(40, 50)
    cache.give_back([block for block in range(100) if block not in kept])
    # Pages that blocks share at their ends stay, too.
    assert full - resident() >= 80 * cache.block_bytes
    out = np.empty_like(data)
    for block in kept:
        cache.read_block(block, out)
        assert (out == data).all()
    cache.give_back(list(range(100)))
    assert resident() - before <= 10 * cache.block_bytes
    with pytest.raises(ValueError, match="no block 100"):
        cache.give_back([100])


def test_what_is_on_disk_is_read_again(model_path: Path, tmp_path: Path) -> None:
    engine = used(model_path, tmp_path / "kv")
    first = run(engine, ASKED)
    full, before = resident(), engine.stats()
    assert engine.rest() == engine.cache.num_blocks
    assert engine.cache.num_cached == 0
    assert full - resident() >= 0.8 * before.cached_blocks * BLOCK
    assert run(engine, ASKED) == first
    after = engine.stats()
    assert after.cached_tokens - before.cached_tokens == sum(len(p) - 1 for p in PROMPTS)
    assert after.disk_bytes_read > before.disk_bytes_read
    engine.cache.check([])
    engine.cache.close()


def test_blocks_that_are_taken_later_lie_side_by_side(model_path: Path, tmp_path: Path) -> None:
    """Or each of them would bring a huge page of every layer back into memory."""
    engine = used(model_path, tmp_path / "kv")
    engine.rest()
    assert [engine.cache.take() for _ in range(50)] == list(range(50))
    engine.cache.close()


def test_what_is_nowhere_else_stays(model_path: Path) -> None:
    engine = used(model_path, None)
    first, cached = run(engine, ASKED), engine.cache.num_cached
    assert engine.rest() == engine.cache.num_blocks - cached
    assert engine.cache.num_cached == cached > 0
    before = engine.stats()
    assert run(engine, ASKED) == first
    assert engine.stats().cached_tokens - before.cached_tokens == sum(len(p) - 1 for p in PROMPTS)


def test_what_is_computed_faster_than_read_stays(model_path: Path, tmp_path: Path) -> None:
    engine = used(model_path, tmp_path / "kv")
    assert engine.cache.disk is not None
    engine.rest()
    run(engine, ASKED)  # so the disk's speed is known
    engine.cache.disk.join(engine.progress.notify, lambda: 1e-12)
    cached = engine.cache.num_cached
    assert engine.rest() == engine.cache.num_blocks - cached
    assert engine.cache.num_cached == cached > 0
    engine.cache.close()


def test_what_a_running_request_needs_stays(model_path: Path, tmp_path: Path) -> None:
    engine = used(model_path, tmp_path / "kv")
    engine.add("r", PROMPTS[0], SamplingParams(max_tokens=40, temperature=0.0, ignore_eos=True))
    for _ in range(3):
        engine.step()
    engine.rest()
    while engine.has_work():
        engine.step()
    engine.cache.check([])
    assert engine.cache.num_cached >= len(PROMPTS[0]) // 32
    engine.cache.close()


def test_the_loop_rests_once_and_goes_on(
    model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = used(model_path, tmp_path / "kv")
    rests: list[int] = []
    real = Engine.rest
    inbox: Inbox = queue.SimpleQueue()

    def rest(self: Engine) -> int:
        rests.append(real(self))
        # Whatever comes then that is no request wakes nobody.
        inbox.put(Ping(2))
        inbox.put(ClearCache(1, "nobody's"))
        inbox.put(Add("r", bytes(400), GREEDY))
        return rests[-1]

    monkeypatch.setattr(Engine, "rest", rest)
    monkeypatch.setattr(main, "Rest", lambda engine: Rest(engine, seconds=0.05))
    inbox.put(Ping(1))
    assert not Loop(engine, inbox).read(lambda message: None).refused
    assert rests == [engine.cache.num_blocks]
    assert engine.has_work()
    engine.cache.close()
