"""A fact is found among thousands, by attention as exact as its cache allows."""

import numpy as np
import pytest
from benchmarks.needle import (
    NeedleModel,
    Rounding,
    as_bytes,
    as_floats,
    cierzo_logits,
    exact_logits,
    judge,
    needle_model,
    prompt,
)

from cierzo.settings import CacheDtype

CONTEXT = 3_000


@pytest.fixture(scope="module")
def model() -> NeedleModel:
    return needle_model(positions=CONTEXT + 64)


@pytest.mark.parametrize(("cache", "rounding"), [("int16", as_floats), ("int8", as_bytes)])
def test_every_needle_is_found_no_less_exactly_than_by_such_a_cache_in_float64(
    model: NeedleModel, cache: CacheDtype, rounding: Rounding
) -> None:
    tokens, answers = prompt(model, CONTEXT)
    reference = exact_logits(model, tokens)
    theirs = judge(exact_logits(model, tokens, rounding), reference, answers)
    ours = judge(cierzo_logits(model, tokens, cache, threads=2), reference, answers)
    assert ours.right == 1.0
    assert ours.mean_kl < 1.1 * theirs.mean_kl


def test_what_the_cache_leaves_out_would_be_missed(model: NeedleModel) -> None:
    tokens, answers = prompt(model, CONTEXT)
    reference = exact_logits(model, tokens)

    def without_needles(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[np.isin(tokens, answers)] = 0
        return x

    assert judge(exact_logits(model, tokens, without_needles), reference, answers).right < 0.1
