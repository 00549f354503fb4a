"""The forward pass against its definition in float64, and the promise that bits never change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cierzo.backends.tensor import StorageType
from cierzo.settings import CacheDtype, Quantization
from tests.support.checkpoints import TinyModel, interleave_heads, random_weights
from tests.support.quantise import stored
from tests.support.reference import reference_logits
from tests.support.steps import Rows, TinyRunner, batch_of, random_tokens

# Query heads, KV heads, head_dim: every group size that fits eight heads, odd widths, many heads.
SHAPES = [(8, 8, 64), (8, 4, 64), (9, 3, 64), (8, 2, 128), (8, 1, 80), (3, 3, 48), (26, 2, 16)]
# Lengths around the ends of cache blocks (32) and of attention's splits (256).
AROUND = [1, 2, 31, 32, 33, 255, 256, 257, 290]


def tiny(heads: int = 8, kv_heads: int = 2, head_dim: int = 64, **sizes: Any) -> TinyModel:
    return TinyModel(
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_dim, **sizes
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("interleaved", [False, True], ids=["halves", "interleaved"])
def test_logits_are_those_of_the_definition(shape: tuple[int, int, int], interleaved: bool) -> None:
    model = tiny(*shape)
    tokens = random_tokens(model, 300)
    weights = random_weights(model)
    got = TinyRunner(model, weights=weights, interleaved=interleaved).prompt(tokens)
    want = reference_logits(weights, model, tokens, interleaved=interleaved)
    # What float32 and a cache of 16 bits leave (one of float16 left 4 to 5e-4).
    np.testing.assert_allclose(got, want, atol=4e-3 * np.abs(want).max())
    assert np.sqrt(((got - want) ** 2).mean()) < 3.5e-4 * want.std()


def test_both_rotary_pairings_are_the_same_model() -> None:
    model = tiny()
    weights = random_weights(model)
    permuted = dict(weights)
    for name, value in weights.items():
        if "q_proj" in name:
            permuted[name] = interleave_heads(value, model.num_attention_heads)
        if "k_proj" in name:
            permuted[name] = interleave_heads(value, model.num_key_value_heads)
    tokens = random_tokens(model, 70)
    halves = TinyRunner(model, weights=weights).prompt(tokens)
    pairs = TinyRunner(model, weights=permuted, interleaved=True).prompt(tokens)
    np.testing.assert_allclose(halves, pairs, atol=2e-3 * np.abs(halves).max())


def test_tied_embeddings_are_the_output_matrix() -> None:
    model = tiny(tie_word_embeddings=True)
    weights = random_weights(model)
    tokens = random_tokens(model, 40)
    got = TinyRunner(model, weights=weights).prompt(tokens)
    want = reference_logits(weights, model, tokens)
    np.testing.assert_allclose(got, want, atol=4e-3 * np.abs(want).max())


@pytest.mark.parametrize("storage", [s for s in StorageType if s is not StorageType.F32], ids=str)
def test_quantised_weights_are_used_as_stored(storage: StorageType) -> None:
    model = tiny()
    weights = random_weights(model)
    tokens = random_tokens(model, 60)
    got = TinyRunner(model, weights=weights, storage=storage).prompt(tokens)
    kept = {k: stored(v, storage) if v.ndim == 2 else v for k, v in weights.items()}
    want = reference_logits(kept, model, tokens)
    # Activations of 8 bits cost about a percent; a wrong scale or sign costs everything.
    assert np.sqrt(((got - want) ** 2).mean()) < 0.03 * want.std()


def test_an_int8_cache_stays_close() -> None:
    model = tiny()
    tokens = random_tokens(model, 300)
    exact = reference_logits(random_weights(model), model, tokens)
    got = TinyRunner(model, kv_cache_dtype="int8").prompt(tokens)
    assert 0 < np.sqrt(((got - exact) ** 2).mean()) < 0.03 * exact.std()


@pytest.mark.parametrize("quantize", ["w8", "w4"])
def test_float_weights_can_be_quantised_on_load(quantize: Quantization) -> None:
    model = tiny()
    tokens = random_tokens(model, 60)
    want = reference_logits(random_weights(model), model, tokens)
    got = TinyRunner(model, storage=StorageType.BF16, quantize=quantize).prompt(tokens)
    error = np.sqrt(((got - want) ** 2).mean()) / want.std()
    assert error < {"w8": 0.06, "w4": 0.4}[quantize]


@pytest.mark.parametrize("storage", [StorageType.F32, StorageType.Q4_1, StorageType.Q6_K], ids=str)
@pytest.mark.parametrize("kv_cache_dtype", ["int16", "int8"])
def test_bits_depend_on_the_sequence_alone(
    storage: StorageType, kv_cache_dtype: CacheDtype
) -> None:
    """Neither chunks nor threads nor where the cache blocks lie nor company change a bit."""
    model = tiny()
    tokens = random_tokens(model, AROUND[-1])
    rng = np.random.default_rng(3)

    def runner(threads: int) -> TinyRunner:
        return TinyRunner(model, storage=storage, threads=threads, kv_cache_dtype=kv_cache_dtype)

    two = runner(2)
    alone = two.prompt(tokens)
    for chunk in (7, 32, 100, 257):
        moved = rng.permutation(64).tolist()
        assert np.array_equal(two.prompt(tokens, chunk, moved), alone), f"chunks of {chunk}"
    for threads in (1, 3):
        assert np.array_equal(runner(threads).prompt(tokens), alone), f"{threads} threads"
        assert np.array_equal(runner(threads).prompt(tokens, 64), alone), f"{threads} threads"


def test_decoding_gives_the_bits_of_prefill() -> None:
    model = tiny()
    runner = TinyRunner(model, storage=StorageType.Q4_1)
    tokens = random_tokens(model, 40)
    assert np.array_equal(runner.prompt(tokens, 1), runner.prompt(tokens))


def test_company_changes_nothing() -> None:
    """Sixteen sequences of all lengths, each one's next token computed in one step or alone."""
    model = tiny()
    runner = TinyRunner(model, storage=StorageType.Q4_1, num_blocks=256)
    lengths = [*AROUND, 3, 64, 100, 128, 200, 511, 600]
    prompts = [random_tokens(model, n + 1, seed=n) for n in lengths]
    tables: list[list[int]] = []
    for prompt in prompts:
        first = sum(map(len, tables))
        tables.append(list(range(first, first + -(-len(prompt) // 32))))
    for prompt, table in zip(prompts, tables, strict=True):
        runner.run(Rows(prompt[:-1], 0, table))
    # The last four bring two tokens, as when a draft is verified.
    steps = [
        Rows(prompt[-1:], len(prompt) - 1, table)
        if i < 12
        else Rows(prompt[-2:], len(prompt) - 2, table)
        for i, (prompt, table) in enumerate(zip(prompts, tables, strict=True))
    ]
    together = runner.run(*steps)
    row = 0
    for step in steps:
        alone = runner.run(step)
        assert np.array_equal(together[row : row + len(step.tokens)], alone)
        row += len(step.tokens)


def test_long_contexts_are_spread_over_threads_without_a_trace() -> None:
    model = tiny(heads=4, kv_heads=1, max_position_embeddings=4096, num_hidden_layers=1)
    tokens = random_tokens(model, 3000)
    results = []
    for threads in (1, 2, 4):
        runner = TinyRunner(model, threads=threads, num_blocks=96)
        runner.prompt(tokens[:-1], 512)
        results.append(runner.run(Rows(tokens[-1:], 2999, range(94))))
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_stale_cache_contents_do_not_leak() -> None:
    """Blocks that held another sequence give the same bits as fresh ones."""
    model = tiny()
    runner = TinyRunner(model)
    tokens = random_tokens(model, 45)
    fresh = runner.prompt(tokens, 7)
    runner.prompt(random_tokens(model, 600, seed=9))
    assert np.array_equal(runner.prompt(tokens, 7), fresh)


def test_logits_come_for_the_rows_asked_for() -> None:
    model = tiny()
    runner = TinyRunner(model)
    tokens = random_tokens(model, 50)
    everything = runner.prompt(tokens)
    some = runner.step(batch_of(Rows(tokens, 0, range(2)), logits=[3, 17, 49]))
    assert np.array_equal(some, everything[[3, 17, 49]])
    none = runner.step(batch_of(Rows(tokens, 0, range(2)), logits=[]))
    assert none.shape == (0, model.vocab_size)
