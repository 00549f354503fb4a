"""The CPU backend's edges: what it refuses, what it says of itself, blocks in and out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cierzo.backends.batch import Batch
from cierzo.backends.cpu import CpuBackend
from cierzo.backends.cpu.sizes import cache_block_bytes
from cierzo.backends.cpu.threads import DefaultThreads
from cierzo.backends.ops import AttentionShape, CacheShape
from cierzo.backends.tensor import RawTensor, StorageType
from cierzo.settings import CacheDtype
from tests.support.checkpoints import TinyModel
from tests.support.steps import Rows, TinyRunner, batch_of, random_tokens, raw_tensor

MODEL = TinyModel(num_hidden_layers=1)


@pytest.fixture(scope="module")
def runner() -> TinyRunner:
    return TinyRunner(MODEL, num_blocks=8, max_batch_tokens=100)


def good() -> Batch:
    """Two sequences: 40 tokens from the start, and the 71st token of another."""
    return batch_of(
        Rows(random_tokens(MODEL, 40), 0, [0, 1]), Rows([5], 70, [2, 3, 4]), logits=[39, 40]
    )


def changed(name: str, index: int | tuple[int, int], value: int) -> Batch:
    batch = good()
    array = getattr(batch, name).copy()
    array[index] = value
    return replace(batch, **{name: array})


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (changed("token_ids", 3, -1), r"token_ids\[3\] is -1"),
        (changed("token_ids", 3, MODEL.vocab_size), "outside the vocabulary"),
        (changed("positions", 2, 3), r"positions\[2\] is 3, expected 2"),
        (changed("positions", 40, 7), "expected 70"),
        (changed("query_start", 0, 1), "must begin with 0"),
        (changed("query_start", 1, 41), r"context_len\[0\] is 40, outside 41"),
        (changed("query_start", 1, 0), "at least one row"),
        (changed("query_start", 1, 90), "at least one row"),
        (changed("query_start", 2, 40), "number of tokens"),
        (changed("context_len", 1, 0), r"context_len\[1\] is 0"),
        (changed("context_len", 1, MODEL.max_position_embeddings + 1), "context_len"),
        (replace(good(), block_tables=good().block_tables[:, :2].copy()), "columns"),
        (changed("block_tables", (1, 2), -1), r"block_tables\[5\] is -1"),
        (changed("block_tables", (1, 2), 8), "outside the 8 blocks"),
        (changed("logits_rows", 0, 40), "must ascend"),
        (changed("logits_rows", 1, 41), "lie in the step"),
        (changed("logits_rows", 0, -1), "lie in the step"),
        (replace(good(), token_ids=np.zeros(0, np.int32)), "0 tokens"),
        (replace(good(), positions=np.zeros(3, np.int32)), "differ in length"),
        (replace(good(), query_start=np.zeros(2, np.int32)), "one entry more"),
        (replace(good(), block_tables=np.zeros((1, 3), np.int32)), "a row a sequence"),
        (batch_of(Rows(random_tokens(MODEL, 101), 0, range(4)), logits=[0]), "1 to 100"),
        (batch_of(*(Rows([1], 0, [0]) for _ in range(65))), "1 to 64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_batch_that_does_not_hold_together_is_refused(
    runner: TinyRunner, batch: Batch, message: str
) -> None:
    before = runner.step(good()).copy()
    with pytest.raises(ValueError, match=message):
        runner.step(batch)
    assert np.array_equal(runner.step(good()), before)


def test_an_empty_batch_is_refused(runner: TinyRunner) -> None:
    nothing = np.zeros(0, np.int32)
    with pytest.raises(ValueError, match="0 tokens"):
        runner.step(Batch(nothing, nothing, nothing, nothing, np.zeros((0, 0), np.int32), nothing))


@pytest.mark.parametrize("kv_cache_dtype", ["int16", "int8"])
def test_a_block_can_leave_and_come_back(kv_cache_dtype: CacheDtype) -> None:
    runner = TinyRunner(MODEL, kv_cache_dtype=kv_cache_dtype)
    tokens = random_tokens(MODEL, 65)
    whole = runner.prompt(tokens)
    saved = [runner.ops.read_block(block) for block in range(2)]
    runner.prompt(random_tokens(MODEL, 65, seed=4))
    for block, data in zip((7, 3), saved, strict=True):
        runner.ops.write_block(block, data)
    assert np.array_equal(runner.run(Rows(tokens[64:], 64, [7, 3, 5]))[0], whole[64])


@pytest.mark.parametrize("dtype", ["int16", "int8"])
def test_a_block_takes_the_bytes_that_the_plan_counts(dtype: CacheDtype) -> None:
    inv_freq = np.ones(32)
    shape = AttentionShape(8, 2, 64, inv_freq, 1.0, rope_interleaved=False)
    block = TinyRunner(TinyModel(), kv_cache_dtype=dtype).ops.read_block(0)
    assert len(block) == cache_block_bytes(2, shape.num_kv_heads, shape.head_dim, dtype)


def test_blocks_that_are_not_there_or_of_another_size_are_refused(runner: TinyRunner) -> None:
    data = runner.ops.read_block(0)
    with pytest.raises(ValueError, match="no block 8"):
        runner.ops.read_block(8)
    with pytest.raises(ValueError, match="no block -1"):
        runner.ops.write_block(-1, data)
    with pytest.raises(ValueError, match="takes"):
        runner.ops.write_block(0, data[:-1])


def test_the_logits_of_a_step_are_bounded_by_memory(runner: TinyRunner) -> None:
    assert runner.ops.max_logits_rows == 100
    wide = TinyRunner(replace(MODEL, vocab_size=200_000), max_batch_tokens=512)
    assert 64 <= wide.ops.max_logits_rows < 100
    rows = list(range(wide.ops.max_logits_rows + 1))
    tokens = random_tokens(MODEL, len(rows))
    with pytest.raises(ValueError, match="rows of logits"):
        wide.step(batch_of(Rows(tokens, 0, range(8)), logits=rows))


@pytest.mark.parametrize(
    ("attention", "cache", "message"),
    [
        ({}, {"block_size": 16}, "blocks of 32"),
        ({}, {"dtype": "f8"}, "int16 or int8"),
        ({"head_dim": 24}, {}, "multiple of 16"),
        ({"num_kv_heads": 3}, {}, "multiple of num_kv_heads"),
        ({"num_heads": 49, "num_kv_heads": 1}, {}, "may share"),
        ({"inv_freq": np.ones(31)}, {}, "inv_freq"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_shapes_without_a_kernel_are_refused(
    attention: dict[str, Any], cache: dict[str, Any], message: str
) -> None:
    shape = AttentionShape(8, 2, 64, np.ones(32), 1.0, rope_interleaved=False)
    with pytest.raises(ValueError, match=message):
        CpuBackend(1).open(
            replace(shape, **attention),
            replace(CacheShape(1, 4, 32, "int16"), **cache),
            max_batch_tokens=8,
            max_batch_sequences=2,
            max_model_len=64,
        )


def test_a_vector_must_be_floats() -> None:
    ops = TinyRunner(MODEL).ops
    values = np.ones(64, dtype=np.float32)
    raw = raw_tensor("norm", values)
    bf16 = RawTensor("norm", (64,), StorageType.BF16, values.view(np.uint8)[2::4].copy(), raw.file)
    with pytest.raises(ValueError, match="tensor norm is stored as q8_0"):
        ops.vector(replace(bf16, storage=StorageType.Q8_0))


def test_it_says_what_it_is() -> None:
    backend = CpuBackend(3)
    assert backend.threads == 3
    assert backend.name.endswith(", 3 threads)")
    assert CpuBackend(1).name.endswith(", 1 thread)")


def test_it_says_why_it_has_so_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = DefaultThreads(2, "2 of 64 processors by the cgroup's quota")
    monkeypatch.setattr("cierzo.backends.cpu.backend.default_threads", lambda: chosen)
    told = ", 2 threads: 2 of 64 processors by the cgroup's quota)"
    assert CpuBackend().name.endswith(told)


@pytest.mark.parametrize("threads", [-1, 1025])
def test_absurd_thread_counts_are_refused(threads: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 1024"):
        CpuBackend(threads)
