"""The last layer computes rows whose logits are wanted alone: they are what all would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from cierzo.backends.tensor import StorageType
from tests.support.checkpoints import TinyModel
from tests.support.steps import Rows, TinyRunner, batch_of, random_tokens

MODEL = TinyModel(max_position_embeddings=2048)
LONG = random_tokens(MODEL, 700)
SHORT = random_tokens(MODEL, 5, seed=1)
OTHER = random_tokens(MODEL, 33, seed=2)
LONG_BLOCKS, SHORT_BLOCKS, OTHER_BLOCKS = range(22), [22], [23, 24]


def step() -> list[Rows]:
    """Five rows of a new sequence, forty behind 660 positions, one behind 32."""
    return [
        Rows(SHORT, 0, SHORT_BLOCKS),
        Rows(LONG[660:], 660, LONG_BLOCKS),
        Rows(OTHER[32:], 32, OTHER_BLOCKS),
    ]


def filled(threads: int, storage: StorageType) -> TinyRunner:
    runner = TinyRunner(MODEL, threads=threads, storage=storage)
    runner.run(Rows(LONG[:660], 0, LONG_BLOCKS), Rows(OTHER[:32], 0, OTHER_BLOCKS))
    return runner


@pytest.mark.parametrize("storage", [StorageType.F32, StorageType.Q8_0])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "wanted",
    [[4], [44], [45], [5, 20, 44], [0, 44, 45], [1, 3, 45], list(range(5, 45)), list(range(46))],
    ids=str,
)
def test_wanted_rows_are_as_among_all(
    wanted: Sequence[int], threads: int, storage: StorageType
) -> None:
    runner = filled(threads, storage)
    every = runner.run(*step())
    some = runner.step(batch_of(*step(), logits=wanted))
    assert np.array_equal(some, every[list(wanted)])


@pytest.mark.parametrize("layers", [1, 2])
def test_a_step_that_wants_none_leaves_its_keys_and_values(layers: int) -> None:
    model = replace(MODEL, num_hidden_layers=layers)
    runner = TinyRunner(model)
    whole = runner.prompt(LONG, blocks=LONG_BLOCKS)
    other = TinyRunner(model)
    none = other.step(batch_of(Rows(LONG[:699], 0, LONG_BLOCKS), logits=[]))
    assert none.shape == (0, model.vocab_size)
    assert np.array_equal(other.run(Rows(LONG[699:], 699, LONG_BLOCKS))[0], whole[699])
