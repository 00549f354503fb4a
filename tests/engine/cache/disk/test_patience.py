"""A disk that does not answer, or takes longer than computing, keeps nobody waiting."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cierzo.engine.cache.disk import patience
from cierzo.engine.engine import Engine
from tests.engine.cache.disk.conftest import Slow
from tests.engine.cache.disk.test_tier import ASKED, GREEDY, PROMPT, leave, opened
from tests.engine.models import random_prompt, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kv"


def answers(engine: Engine, *prompts: list[int]) -> list[tuple[int, ...]]:
    """What is answered to each, while a thread has blocks."""
    tokens: dict[str, tuple[int, ...]] = {str(at): () for at in range(len(prompts))}
    for name, prompt in zip(tokens, prompts, strict=True):
        engine.add(name, prompt, GREEDY)
    while engine.has_work():
        for output in engine.step():
            tokens[output.request_id] += output.token_ids
    engine.cache.check([])
    return list(tokens.values())


def test_what_a_hanging_disk_has_is_computed(
    model_path: Path,
    folder: Path,
    slow: Slow,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    first = leave(model_path, folder)
    with opened(model_path, folder) as engine:
        slow.hold(engine)
        monkeypatch.setattr(patience, "STALL_SECONDS", 0.05)
        assert answers(engine, PROMPT) == [tuple(first.token_ids)]
        stats = engine.stats()
        assert stats.disk_loads_overdue == 1
        assert stats.cached_tokens == 0
        # Nothing more is read from it, so nobody waits a second time; nor for its blocks.
        answers(engine, random_prompt(9, 200), PROMPT)
        assert engine.stats().disk_loads_overdue == 1
        lent = engine.cache.num_blocks - engine.cache.num_available
        assert lent == 7
        slow.let_go()
        while engine.cache.waits_for_disk:
            engine.cache.collect()
        assert engine.cache.num_available == engine.cache.num_blocks
        engine.cache.check([])
        engine.rest()
        assert run(engine, ASKED)["r"] == first
        assert engine.stats().disk_bytes_read > 0
    told = [record.message for record in caplog.records if "answer" in record.message]
    assert told == ["the disk does not answer, what it has is computed", "the disk answers again"]


def test_who_waits_for_a_block_of_a_hanging_disk_goes_on(
    model_path: Path, folder: Path, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = leave(model_path, folder)
    with opened(model_path, folder) as engine:
        slow.hold(engine)
        monkeypatch.setattr(patience, "STALL_SECONDS", 0.05)
        assert answers(engine, *[PROMPT] * 3) == [tuple(first.token_ids)] * 3
        slow.let_go()


def test_who_left_meanwhile_leaves_no_wait(
    model_path: Path, folder: Path, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(model_path, folder)
    with opened(model_path, folder) as engine:
        slow.hold(engine)
        monkeypatch.setattr(patience, "STALL_SECONDS", 0.05)
        engine.add("left", PROMPT, GREEDY)
        while not engine.stalled:
            engine.step()
        engine.abort("left")
        time.sleep(0.06)
        engine.add("next", PROMPT, GREEDY)
        while engine.has_work():
            engine.step()
        assert engine.stats().disk_loads_overdue == 0
        slow.let_go()


def test_reading_ends_where_computing_would_have(model_path: Path, folder: Path) -> None:
    first = leave(model_path, folder)
    with opened(model_path, folder) as engine:
        assert engine.cache.disk is not None
        # Reading is not known to be slow: no speed of the disk has been measured yet.
        engine.cache.disk.join(engine.progress.notify, lambda: 1e-12)
        assert run(engine, ASKED)["r"] == first
        stats = engine.stats()
        assert stats.cached_tokens == 32
        assert stats.disk_loads_skipped == 1
        engine.cache.check([])
