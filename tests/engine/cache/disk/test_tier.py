"""An engine finds on disk what another one left there: the same model, kernels, settings, tenant.

And does without whatever the disk does not give.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cierzo.backends.cpu.identity import Identity
from cierzo.backends.tensor import StorageType
from cierzo.engine.cache.disk import jobs, opening
from cierzo.engine.cache.disk.folders import free_world
from cierzo.engine.engine import Engine
from cierzo.engine.messages import EngineStats
from cierzo.engine.sampling_params import SamplingParams
from cierzo.model.runner import ModelRunner
from tests.engine.cache.disk.conftest import Slow
from tests.engine.models import Answer, Request, make_engine, random_prompt, run
from tests.support.checkpoints import TinyModel, write_gguf

PROMPT = random_prompt(1, 200)
SLOT, RECORD = 36_864, 256  # bytes
GREEDY = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
ASKED = {"r": Request(PROMPT, GREEDY)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kv"


@contextmanager
def opened(path: Path, folder: Path | None, **settings: Any) -> Iterator[Engine]:
    """An engine that leaves all it has on disk."""
    engine = make_engine(path, disk=folder, **settings)
    if engine.cache.disk is not None:
        engine.cache.disk.join(engine.progress.notify, lambda: 0.0)  # always tries the disk
    yield engine
    written(engine)
    engine.cache.close()


def written(engine: Engine) -> EngineStats:
    """The numbers once all that was offered is written."""
    while engine.cache.disk is not None and engine.cache.disk.is_saving:
        engine.stats()
    return engine.stats()


def leave(path: Path, folder: Path, **settings: Any) -> Answer:
    """What the prompt is answered; it is on disk afterwards."""
    with opened(path, folder, **settings) as engine:
        return run(engine, ASKED)["r"]


def found(path: Path, folder: Path, **settings: Any) -> int:
    """How many tokens of the prompt another engine need not compute."""
    with opened(path, folder, **settings) as engine:
        run(engine, ASKED)
        return engine.stats().cached_tokens


def salted(engine: Engine, salt: str) -> int:
    """How many tokens of the prompt are found by requests of a salt."""
    before = engine.stats().cached_tokens
    engine.add("r", PROMPT, GREEDY, cache_salt=salt)
    while engine.has_work():
        engine.step()
    return engine.stats().cached_tokens - before


def world_of(folder: Path) -> Path:
    (world,) = folder.iterdir()
    return world


def test_all_but_the_last_token_survives_a_restart(model_path: Path, folder: Path) -> None:
    first = leave(model_path, folder)
    turn = [*PROMPT, *first.token_ids, 7, 8]
    with opened(model_path, folder) as engine:
        assert run(engine, ASKED)["r"] == first
        assert engine.stats().cached_tokens == len(PROMPT) - 1
    with opened(model_path, folder) as engine:
        later = run(engine, {"r": Request(turn, GREEDY)})["r"]
        # Of the answer, too, all but the last token was in the cache.
        assert engine.stats().cached_tokens == len(PROMPT) + len(first.token_ids) - 1
    with opened(model_path, None) as engine:
        assert run(engine, {"r": Request(turn, GREEDY)})["r"] == later


def test_what_no_longer_fits_into_memory_is_read_again(model_path: Path, folder: Path) -> None:
    with opened(model_path, folder, num_blocks=12) as engine:
        for seed in range(5):
            run(engine, {"r": Request(random_prompt(seed, 300), GREEDY)})
            written(engine)
        before = engine.stats()
        for seed in range(5):
            run(engine, {"r": Request(random_prompt(seed, 300), GREEDY)})
            written(engine)
        assert engine.stats().cached_tokens - before.cached_tokens == 5 * 299
        assert engine.stats().disk_bytes_read > 0


def test_who_asks_the_same_waits_for_what_is_read(model_path: Path, folder: Path) -> None:
    leave(model_path, folder)
    with opened(model_path, folder) as engine:
        answers = run(engine, {name: Request(PROMPT, GREEDY) for name in "abcd"})
        assert len({tuple(answer.token_ids) for answer in answers.values()}) == 1
        # Each has its own copy of the last block, which is not full.
        assert 7 * SLOT <= engine.stats().disk_bytes_read <= 10 * SLOT
        assert engine.stats().cached_tokens == 4 * (len(PROMPT) - 1)


def test_others_run_while_one_is_read(model_path: Path, folder: Path, slow: Slow) -> None:
    leave(model_path, folder)
    with opened(model_path, folder) as engine:
        slow.hold(engine)
        engine.add("read", PROMPT, GREEDY)
        engine.add("computed", [5, 6, 7], GREEDY)
        ended = []
        while not engine.stalled:
            ended += [o.request_id for o in engine.step() if o.finish_reason]
        assert ended == ["computed"]
        slow.let_go()
        while engine.has_work():
            ended += [o.request_id for o in engine.step() if o.finish_reason]
        assert ended == ["computed", "read"]
        assert engine.stats().cached_tokens == len(PROMPT) - 1


def test_who_leaves_while_it_is_read_leaves_all_blocks(
    model_path: Path, folder: Path, slow: Slow
) -> None:
    leave(model_path, folder)
    with opened(model_path, folder) as engine:
        slow.hold(engine)
        engine.add("read", PROMPT, GREEDY)
        while not engine.stalled:
            engine.step()
        engine.abort("read")
        engine.cache.check([])
        assert engine.stats().free_blocks < engine.stats().num_blocks  # a thread may write to them
        engine.add("after", [5, 6, 7], GREEDY)
        while engine.has_work():
            engine.step()
        slow.let_go()
        while engine.cache.waits_for_disk:
            engine.stats()
        engine.cache.check([])
        assert engine.stats().free_blocks == engine.stats().num_blocks
        assert engine.stats().cached_tokens == 0


@pytest.mark.parametrize(
    "other", [{"kv_cache_dtype": "int8"}, {"prefix_cache": "off"}, {"kv_cache_disk_gb": 0.0}]
)
def test_other_settings_find_nothing(model_path: Path, folder: Path, other: dict[str, Any]) -> None:
    leave(model_path, folder)
    assert found(model_path, folder, **other) == 0
    assert found(model_path, folder) == len(PROMPT) - 1


def test_other_weights_find_nothing(tmp_path: Path, folder: Path) -> None:
    """One byte in the middle of a tensor is enough."""
    path = write_gguf(tmp_path / "tiny.gguf", TinyModel(), StorageType.Q4_1)
    leave(path, folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert found(path, folder) == 0


@pytest.mark.parametrize("part", ["_library", "_features", "_libc"])
def test_other_kernels_processors_and_libraries_find_nothing(
    model_path: Path, folder: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(model_path, folder)
    monkeypatch.setattr(f"{Identity.__module__}.{part}", lambda: "another")
    assert found(model_path, folder) == 0


def test_tenants_do_not_find_each_others(model_path: Path, folder: Path) -> None:
    with opened(model_path, folder) as engine:
        salted(engine, "one")
    with opened(model_path, folder) as engine:
        assert salted(engine, "other") == salted(engine, "") == 0
        assert salted(engine, "one") == len(PROMPT) - 1


def test_what_is_cleared_is_not_on_disk(model_path: Path, folder: Path) -> None:
    with opened(model_path, folder) as engine:
        salted(engine, "one")
        salted(engine, "other")
    with opened(model_path, folder) as engine:
        assert engine.cache.clear("one") == len(PROMPT) + GREEDY.max_tokens - 1
        assert engine.cache.clear("one") == 0
    with opened(model_path, folder) as engine:
        assert salted(engine, "one") == 0
        assert salted(engine, "other") == len(PROMPT) - 1
        assert engine.cache.clear("other") > 200  # in memory and on disk
        assert engine.cache.clear("other") == 0
        assert salted(engine, "other") == 0


def test_a_block_that_is_taken_while_it_is_written_is_not_on_disk(
    model_path: Path, folder: Path, slow: Slow
) -> None:
    with opened(model_path, folder, num_blocks=10) as engine:
        slow.hold(engine, saves=True)
        first = run(engine, ASKED)["r"]
        assert slow.saving.wait(240)
        run(engine, {"r": Request(random_prompt(2, 300), GREEDY)})  # which takes all blocks
        slow.let_go()
    with opened(model_path, folder) as engine:
        assert run(engine, ASKED)["r"] == first
        assert engine.stats().cached_tokens == 0


def test_what_is_cleared_while_it_is_written_is_not_on_disk(
    model_path: Path, folder: Path, slow: Slow
) -> None:
    with opened(model_path, folder) as engine:
        slow.hold(engine, saves=True)
        run(engine, ASKED)
        assert slow.saving.wait(240)
        assert engine.cache.clear("") == len(PROMPT) + GREEDY.max_tokens - 1
        slow.let_go()
    assert found(model_path, folder) == 0


def test_what_is_cleared_is_overwritten(model_path: Path, folder: Path) -> None:
    with opened(model_path, folder) as engine:
        run(engine, ASKED)
        written(engine)
        assert any((world_of(folder) / "blocks").read_bytes())
        engine.cache.clear("")
    for name in ("blocks", "headers"):
        assert not any((world_of(folder) / name).read_bytes())


def test_clearing_counts_no_token_twice(model_path: Path, folder: Path) -> None:
    with opened(model_path, folder) as engine:
        run(engine, ASKED)
        written(engine)
        assert engine.cache.clear("") == len(PROMPT) + GREEDY.max_tokens - 1
    assert found(model_path, folder) == 0


def test_a_second_engine_does_without_and_says_so(
    model_path: Path,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opening, "_PATIENCE_SECONDS", 0.0)
    with opened(model_path, folder) as first:
        with opened(model_path, folder) as second:
            assert second.cache.disk is None
            assert run(second, ASKED) == run(first, ASKED)
        (line,) = [record for record in caplog.records if record.levelname == "WARNING"]
        assert "in use by another process" in line.fields["reason"]  # type: ignore[attr-defined]


def test_it_is_open_to_its_owner_alone(model_path: Path, folder: Path) -> None:
    folder.mkdir(mode=0o755)
    leave(model_path, folder)
    world = world_of(folder)
    world.chmod(0o777)
    (world / "blocks").chmod(0o666)
    leave(model_path, folder)
    assert stat.S_IMODE(world.stat().st_mode) == 0o700
    for path in world.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


@pytest.mark.parametrize("name", ["", "blocks", "headers", "lock"])
def test_links_are_not_followed(
    model_path: Path, folder: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    leave(model_path, folder)
    world = world_of(folder)
    target = folder.parent / "elsewhere"
    (world / name if name else world).rename(target)
    (world / name if name else world).symlink_to(target)
    assert found(model_path, folder) == 0
    assert "no KV cache on disk" in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_used(
    model_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave(model_path, folder)
    os.chown(world_of(folder), 65_534, 65_534)
    with opened(model_path, folder) as engine:
        assert engine.cache.disk is None
    assert "no KV cache on disk" in caplog.text


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_takes_no_more_is_only_read(
    model_path: Path,
    folder: Path,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    leave(model_path, folder)
    with opened(model_path, folder) as engine:
        monkeypatch.setattr(jobs.Place, "write_record", failing(number))
        run(engine, ASKED)
        for seed in range(3):
            run(engine, {"r": Request(random_prompt(seed + 5, 100), GREEDY)})
            written(engine)
        assert engine.stats().cached_tokens >= len(PROMPT) - 1
        assert engine.stats().disk_bytes_written == 0
        lines = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert lines.count("nothing more is written to the disk cache") == 1
        monkeypatch.undo()
    assert found(model_path, folder) == len(PROMPT) - 1


def test_a_full_disk_ends_nothing(model_path: Path, folder: Path) -> None:
    """With a limit on the size of files, a block is written in part."""
    import resource
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * SLOT + 10_000, hard))
    try:
        with opened(model_path, folder) as engine:
            first = run(engine, ASKED)["r"]
            assert written(engine).disk_blocks == 3
        with opened(model_path, folder) as engine:
            assert run(engine, ASKED)["r"] == first
            assert engine.stats().cached_tokens == 3 * 32
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_slow_disk_is_not_read(model_path: Path, folder: Path) -> None:
    leave(model_path, folder)
    with opened(model_path, folder) as engine:
        assert engine.cache.disk is not None
        run(engine, {"r": Request(PROMPT[:60], GREEDY)})
        engine.cache.disk.join(engine.progress.notify, lambda: 1e-12)
        run(engine, ASKED)
        assert engine.stats().disk_loads_skipped == 1
        engine.cache.disk.join(engine.progress.notify, lambda: 1.0)
        run(engine, {"r": Request([*PROMPT[:100], 5], GREEDY)})
        assert engine.stats().disk_loads_skipped == 1


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_gave_no_numbers_is_not_on_disk(
    model_path: Path, folder: Path, slow: Slow, on_disk: bool
) -> None:
    """Not even what others left, if it is what the failure began from."""
    if on_disk:
        leave(model_path, folder)
    with opened(model_path, folder) as engine:
        if not on_disk:  # it is being written
            slow.hold(engine, saves=True)
            run(engine, ASKED)
            assert slow.saving.wait(240)
        assert isinstance(engine.runner, ModelRunner)
        compute = engine.runner.run
        engine.runner.run = lambda batch: np.full_like(compute(batch), np.nan)  # type: ignore[method-assign]
        failed = run(engine, ASKED)["r"]
        assert failed.finish_reason == "error"
        slow.let_go()
    assert found(model_path, folder) == 0


def test_the_bound_is_kept_and_what_was_used_last_stays(model_path: Path, folder: Path) -> None:
    slots = 20
    with opened(model_path, folder, kv_cache_disk_gb=slots * (SLOT + RECORD) / 1e9) as engine:
        for seed in range(8):
            run(engine, {"r": Request(random_prompt(seed, 150), GREEDY)})
            assert written(engine).disk_blocks <= slots
    world = world_of(folder)
    assert (world / "blocks").stat().st_size <= slots * SLOT
    with opened(model_path, folder) as engine:
        run(engine, {"r": Request(random_prompt(7, 150), GREEDY)})
        assert engine.stats().cached_tokens == 149
        run(engine, {"r": Request(random_prompt(0, 150), GREEDY)})
        assert engine.stats().cached_tokens == 149


def test_other_models_make_room(tmp_path: Path, folder: Path) -> None:
    paths = [
        write_gguf(tmp_path / f"{i}.gguf", TinyModel(), kind)
        for i, kind in enumerate((StorageType.Q4_1, StorageType.Q8_0, StorageType.F16))
    ]
    limit = 2.5 * 8 * SLOT / 1e9
    for path in paths[:2]:
        leave(path, folder, kv_cache_disk_gb=limit)
    worlds = {path.name for path in folder.iterdir()}
    assert len(worlds) == 2
    leave(paths[2], folder, kv_cache_disk_gb=limit)
    assert len(worlds - {path.name for path in folder.iterdir()}) == 1
    assert found(paths[2], folder) == found(paths[1], folder) == len(PROMPT) - 1
    assert found(paths[0], folder) == 0
    for world in folder.iterdir():
        with free_world(world):
            pass  # nobody has kept it locked


def failing(number: int) -> Any:
    def fail(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail
