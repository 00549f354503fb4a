"""The thread pool: the same bits under any circumstances, and no thread left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time

import numpy as np
import pytest

from cierzo.backends.ops import StepCut
from cierzo.backends.tensor import StorageType
from tests.support.checkpoints import TinyModel
from tests.support.steps import Rows, TinyRunner, batch_of, random_tokens

MODEL = TinyModel(num_hidden_layers=3)


def thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


def settled_thread_count() -> int:
    """The threads there are once those of earlier tests have ended."""
    gc.collect()
    count = -1
    while count != (count := thread_count()):
        time.sleep(0.2)
    return count


def test_many_short_steps_give_the_same_bits_each_time() -> None:
    """More threads than cores, and pauses long enough for them to fall asleep."""
    runner = TinyRunner(MODEL, storage=StorageType.Q4_1, threads=5)
    tokens = random_tokens(MODEL, 20)
    runner.prompt(tokens)
    batch = batch_of(Rows(tokens[-1:], 19, [0]))
    first = runner.step(batch).copy()
    for i in range(300):
        assert np.array_equal(runner.step(batch), first)
        if i % 50 == 0:
            time.sleep(0.002)


def test_two_pools_do_not_disturb_each_other() -> None:
    tokens = random_tokens(MODEL, 200)
    runners = [TinyRunner(MODEL, storage=StorageType.Q4_1, threads=2) for _ in range(2)]
    want = runners[0].prompt(tokens)
    results: list[list[bool]] = [[], []]

    def work(i: int) -> None:
        for chunk in (0, 50, 33):
            results[i].append(np.array_equal(runners[i].prompt(tokens, chunk), want))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [[True] * 3, [True] * 3]


def test_a_pool_ends_its_threads() -> None:
    before = settled_thread_count()
    runner = TinyRunner(MODEL, threads=4)
    assert thread_count() == before + 3
    runner.prompt(random_tokens(MODEL, 10))
    del runner
    assert thread_count() == before


def test_an_idle_pool_sleeps() -> None:
    runner = TinyRunner(MODEL, threads=3)
    runner.prompt(random_tokens(MODEL, 10))
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.15


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_step_that_is_cut_gives_nothing_and_the_next_one_all(threads: int) -> None:
    runner = TinyRunner(MODEL, storage=StorageType.Q4_1, threads=threads)
    tokens = random_tokens(MODEL, 20)
    want = runner.prompt(tokens)
    runner.ops.set_cut(True)
    for _ in range(2):
        with pytest.raises(StepCut):
            runner.prompt(tokens)
    runner.ops.set_cut(False)
    assert np.array_equal(runner.prompt(tokens), want)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_steps_cut_at_any_time_change_no_bit(threads: int) -> None:
    runner = TinyRunner(MODEL, storage=StorageType.Q4_1, threads=threads)
    tokens = random_tokens(MODEL, 100)
    want = runner.prompt(tokens)
    for attempt in range(40):
        cutter = threading.Timer(0.0002 * attempt, runner.ops.set_cut, [True])
        cutter.start()
        with contextlib.suppress(StepCut):
            for _ in range(3):
                assert np.array_equal(runner.prompt(tokens), want)
        cutter.join()
        runner.ops.set_cut(False)
        assert np.array_equal(runner.prompt(tokens), want)
