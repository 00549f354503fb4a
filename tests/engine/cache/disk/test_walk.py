"""Whatever happens to the disk tier and to those who use it, no bit of any answer differs.

Sessions walk through engines with few blocks that share a folder, one after the other: engines are
closed, or left as a kill leaves them; bytes of the store are flipped, lost and zeroed meanwhile.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cierzo.engine.engine import Engine
from tests.engine.constraints.test_constrained import knowing
from tests.engine.models import Answer, Request, make_engine, random_prompt
from tests.engine.test_same_bits import (
    LONGEST,
    Audit,
    Oracle,
    Session,
    WildDrafter,
    requests,
)

FILES = ("blocks", "headers")


@dataclass
class Walk:
    """Sessions, and what the engines of now and before have told."""

    path: Path
    folder: Path
    kv: str
    rng: random.Random
    sessions: list[Session]
    oracle: Oracle
    read: int = 0  # bytes
    failed: int = 0
    restarts: int = 0
    asked: dict[str, tuple[Request, Session]] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    expected: dict[str, Answer] = field(default_factory=dict)

    def engine(self) -> Engine:
        engine = make_engine(
            self.path,
            num_blocks=self.rng.choice([16, 24, 60]),
            threads=self.rng.choice([1, 3]),
            eos=(2,),
            disk=self.folder,
            kv_cache_disk_gb=self.rng.choice([0.002, 0.02]),  # 60 slots, or 600
            kv_cache_dtype=self.kv,
            max_batch_tokens=self.rng.choice([16, 50, 512]),
            max_batch_sequences=self.rng.choice([2, 6, 16]),
        )
        assert engine.cache.disk is not None
        engine.cache.disk.join(engine.progress.notify, lambda: 0.0)  # always tries the disk
        engine.use_drafter(WildDrafter(self.rng, self.expected))
        return knowing(engine, self.path)[0]

    def ask(self, engine: Engine, step: str) -> None:
        for request in requests(self.rng, self.sessions):
            name = f"{step}.{len(self.answers)}"
            self.expected[name] = self.oracle.answer(request)
            engine.add(name, request.prompt, request.params)
            self.asked[name] = request, self.rng.choice(self.sessions)
            self.answers[name] = Answer()

    def step(self, engine: Engine) -> None:
        for output in engine.step():
            answer = self.answers[output.request_id]
            answer.take(output)
            if answer.finish_reason is not None:
                request, session = self.asked.pop(output.request_id)
                assert answer == self.expected[output.request_id], output.request_id
                if self.rng.random() < 0.6:  # the session goes on with this answer
                    session.history = [*request.prompt, *answer.token_ids][:LONGEST]

    def end(self, engine: Engine) -> None:
        """Closes the engine; what still ran is lost, and so is what waited to be written."""
        self.asked.clear()
        stats = engine.stats()
        self.read += stats.disk_bytes_read
        self.failed += stats.disk_loads_failed
        self.restarts += 1
        if self.rng.random() < 0.5:
            assert engine.cache.disk is not None
            for save in engine.cache.disk._saving.values():
                save.cancelled = True  # as if it had not come to that
        engine.cache.close()

    def files(self) -> Iterator[Path]:
        (world,) = self.folder.iterdir()
        yield from (world / name for name in FILES)


def walk(path: Path, folder: Path, kv: str, seed: int) -> Walk:
    rng = random.Random(f"disk {kv} {seed}")
    shared = random_prompt(7, 70)
    sessions = [Session(shared + random_prompt(i, 30 * i)) for i in range(4)]
    return Walk(path, folder, kv, rng, sessions, Oracle(path, kv))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kv", ["int16", "int8"])
def test_any_walk_over_restarts_gives_the_same_bits(
    model_path: Path, tmp_path: Path, kv: str, seed: int
) -> None:
    one = walk(model_path, tmp_path / "kv", kv, seed)
    rng = one.rng
    for life in range(6):
        engine = one.engine()
        audit = Audit(engine)
        for step in range(150):
            if len(one.asked) < 8 and rng.random() < 0.3:
                one.ask(engine, f"{life}.{step}")
            if one.asked and rng.random() < 0.03:
                dropped = rng.choice(list(one.asked))
                engine.abort(dropped)
                del one.asked[dropped]
            one.step(engine)
            audit.check(contents=step % 20 == 0)
        one.end(engine)
    assert one.read > 3e5
    assert one.failed == 0


@pytest.mark.parametrize("kv", ["int16", "int8"])
def test_a_thousand_flipped_bytes_change_no_bit(model_path: Path, tmp_path: Path, kv: str) -> None:
    one = walk(model_path, tmp_path / "kv", kv, 0)
    rng = one.rng
    for life in range(20):
        engine = one.engine()
        for step in range(60):
            if len(one.asked) < 4 and rng.random() < 0.3:
                one.ask(engine, f"{life}.{step}")
            if life and step % 12 == 0:  # while it runs
                damage(rng, list(one.files()), 5)
            one.step(engine)
        one.end(engine)
        damage(rng, list(one.files()), 25)
    assert one.failed > 5
    assert one.read > 3e5


def damage(rng: random.Random, files: list[Path], count: int) -> None:
    """Flips bytes at places of chance."""
    for _ in range(count):
        path = rng.choice(files)
        size = path.stat().st_size
        if size:
            number = os.open(path, os.O_RDWR)
            place = rng.randrange(size)
            (byte,) = os.pread(number, 1, place) or b"\0"
            os.pwrite(number, bytes([byte ^ rng.randrange(1, 256)]), place)
            os.close(number)
