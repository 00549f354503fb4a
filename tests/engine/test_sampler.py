"""The native sampler against float64 definitions of what each parameter means."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cierzo import _native
from cierzo.engine.sampler import NOT_FINITE, NOTHING_LEFT, Sampler, SamplerState
from cierzo.engine.sampling_params import SamplingParams

Floats = npt.NDArray[np.float64]


def state(
    vocab: int, prompt: Iterable[int] = (0,), stop_ids: Iterable[int] = (), **params: object
) -> SamplerState:
    sampling = SamplingParams(**({"seed": 1} | params))  # type: ignore[arg-type]
    return SamplerState(
        sampling,
        np.array(list(prompt), dtype=np.int32),
        stop_ids=frozenset(stop_ids),
        vocab_size=vocab,
    )


def one(logits: npt.ArrayLike, chosen: SamplerState) -> int:
    row = np.asarray(logits, dtype=np.float32).reshape(1, -1)
    return Sampler(row.shape[1]).choose(row, [0], [chosen])[0]


def draws(logits: npt.ArrayLike, count: int, **params: Any) -> npt.NDArray[np.int64]:
    """Tokens that `count` seeds choose."""
    row = np.asarray(logits, dtype=np.float32).reshape(1, -1)
    vocab = row.shape[1]
    states = [state(vocab, seed=seed, **params) for seed in range(count)]
    return np.array(Sampler(vocab).choose(row, [0] * count, states))


def in_order(logits: Floats) -> npt.NDArray[np.int64]:
    """Tokens by logit, ties by id."""
    return np.lexsort((np.arange(len(logits)), -logits))


def reference(logits: npt.ArrayLike, params: SamplingParams) -> Floats:
    """Probabilities as documented: temperature, then min_p, top_k, top_p."""
    x = np.asarray(logits, dtype=np.float32).astype(np.float64)
    p = np.exp((x - x.max()) / params.temperature)
    p[p < params.min_p] = 0
    order = in_order(x)
    if params.top_k:
        p[order[params.top_k :]] = 0
    p /= p.sum()
    if params.top_p < 1:
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= params.top_p]] = 0
    return np.asarray(p / p.sum())


CUTS = [
    {},
    {"temperature": 0.3},
    {"temperature": 3.0},
    {"top_k": 5},
    {"top_p": 0.7},
    {"min_p": 0.1},
    {"top_k": 40, "top_p": 0.9},
    {"top_k": 30, "min_p": 0.02, "temperature": 0.8},
    {"top_p": 0.95, "min_p": 0.01, "temperature": 1.5},
    {"top_k": 20, "top_p": 0.8, "min_p": 0.03},
]


@pytest.mark.parametrize("cuts", CUTS, ids=str)
@pytest.mark.parametrize("vocab", [61, 700])
def test_draws_follow_the_reference_distribution(cuts: dict[str, float], vocab: int) -> None:
    logits = np.random.default_rng(vocab).normal(size=vocab) * 2
    expected = reference(logits, SamplingParams(**cuts))  # type: ignore[arg-type]
    count = 20_000
    seen = np.bincount(draws(logits, count, **cuts), minlength=vocab)
    assert seen[expected == 0].sum() == 0
    # Each count within five standard deviations, and rare ones a few off: with fixed seeds this
    # either holds or does not.
    deviation = np.sqrt(count * expected * (1 - expected))
    assert np.all(np.abs(seen - count * expected) <= 5 * deviation + 4)
    assert set(np.flatnonzero(expected > 1e-3)) <= set(np.flatnonzero(seen))


@pytest.mark.parametrize("vocab", [1_000, 49_152])
def test_a_wide_nucleus_is_cut_where_the_mass_says(vocab: int) -> None:
    """Nearly flat logits: far more tokens than are ever listed and sorted."""
    logits = (np.random.default_rng(0).normal(size=vocab) * 0.01).astype(np.float32)
    expected = reference(logits, SamplingParams(top_p=0.5))
    tokens = draws(logits, 2_000, top_p=0.5)
    assert np.all(expected[tokens] > 0)
    # Uniform over the kept half: about as many distinct tokens as draws from it would give.
    kept = int(np.sum(expected > 0))
    distinct = kept * (1 - (1 - 1 / kept) ** 2_000)
    assert abs(len(set(tokens.tolist())) - distinct) < 0.05 * distinct


def test_equal_logits_are_cut_by_id() -> None:
    flat = np.zeros(1_024)
    assert set(draws(flat, 500, top_k=3).tolist()) == {0, 1, 2}
    assert set(draws(flat, 500, top_p=4 / 1_024).tolist()) == {0, 1, 2, 3}
    assert max(draws(flat, 2_000, top_p=0.5).tolist()) == 511
    assert draws(flat, 2_000).max() > 1_000
    assert set(draws(flat, 10, temperature=0.0).tolist()) == {0}


def test_a_tiny_top_p_leaves_the_likeliest() -> None:
    logits = np.random.default_rng(2).normal(size=300)
    assert set(draws(logits, 200, top_p=1e-9).tolist()) == {int(logits.argmax())}
    assert set(draws(logits, 200, top_k=50, top_p=1e-9).tolist()) == {int(logits.argmax())}


def test_min_p_of_one_leaves_the_likeliest_and_its_equals() -> None:
    assert set(draws([1.0, 5.0, 5.0, 4.999, 0.0], 300, min_p=1.0).tolist()) == {1, 2}


def test_top_k_of_one_is_greedy_at_any_temperature() -> None:
    logits = np.random.default_rng(3).normal(size=500)
    assert set(draws(logits, 50, top_k=1, temperature=1_000.0).tolist()) == {int(logits.argmax())}


def test_top_k_beyond_the_vocabulary_keeps_all() -> None:
    logits = np.random.default_rng(4).normal(size=100)
    assert np.array_equal(draws(logits, 300, top_k=100), draws(logits, 300))
    assert np.array_equal(draws(logits, 300, top_k=1_000_000), draws(logits, 300))


def test_a_large_top_k_keeps_exactly_k() -> None:
    """More than there are chunks in the row: the bound is found by bisection."""
    logits = np.random.default_rng(5).permutation(5_000) / 50_000
    tokens = draws(logits, 20_000, top_k=1_000)
    assert set(tokens.tolist()) <= set(in_order(logits)[:1_000].tolist())
    assert len(set(tokens.tolist())) == 1_000


def test_extreme_temperatures() -> None:
    logits = np.random.default_rng(6).normal(size=64) * 20
    assert set(draws(logits, 100, temperature=1e-4).tolist()) == {int(logits.argmax())}
    assert set(draws(logits, 100, temperature=1e-30).tolist()) == {int(logits.argmax())}
    assert len(set(draws(logits, 5_000, temperature=1e4).tolist())) == 64


def test_huge_logits_do_not_overflow() -> None:
    assert one([-3e38, 3e38, 0.0], state(3)) == 1
    assert one([-3e38, -3.1e38], state(2)) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 7, 299])
def test_logits_that_are_not_finite_give_no_token(bad: float, place: int) -> None:
    row = np.zeros((1, 300), dtype=np.float32)
    row[0, place] = bad
    sampler = Sampler(300)
    assert sampler.choose(row, [0], [state(300)]) == [NOT_FINITE]
    assert sampler.choose(row, [0], [state(300, temperature=0.0)]) == [NOT_FINITE]
    assert sampler.logprobs_of(row, 0, np.array([1], dtype=np.int32), 2) is None


def test_a_bad_row_does_not_touch_its_neighbours() -> None:
    rows = np.zeros((3, 40), dtype=np.float32)
    rows[0, 5] = rows[2, 6] = 9
    rows[1, 0] = np.nan
    states = [state(40, temperature=0.0) for _ in range(3)]
    assert Sampler(40).choose(rows, [0, 1, 2], states) == [5, NOT_FINITE, 6]


def test_bias_is_added_before_everything_else() -> None:
    logits = np.random.default_rng(7).normal(size=100)
    banned, wanted = int(logits.argmax()), 17
    assert banned not in draws(logits, 2_000, logit_bias={banned: -100.0})
    assert set(draws(logits, 200, logit_bias={wanted: 100.0}).tolist()) == {wanted}
    greedy = one(logits, state(100, temperature=0.0, logit_bias={banned: -100.0}))
    assert greedy == in_order(logits)[1]


def test_penalties_are_those_of_the_definitions() -> None:
    logits = np.array([2.0, 1.5, -0.5, 0.2, -3.0], dtype=np.float32)
    params: dict[str, Any] = {
        "repetition_penalty": 1.7,
        "frequency_penalty": 0.31,
        "presence_penalty": 0.17,
        "temperature": 0.0,
    }
    prompt = [2, 2, 3]
    chosen = state(5, prompt, **params)
    counts = np.zeros(5)
    for _ in range(30):
        x = logits.astype(np.float64)
        for token in range(5):
            if counts[token] or token in prompt:
                x[token] = x[token] / 1.7 if x[token] > 0 else x[token] * 1.7
        x -= 0.31 * counts + 0.17 * (counts > 0)
        assert np.diff(np.sort(x))[-1] > 1e-4  # no near tie, where rounding would decide
        expected = int(x.argmax())
        assert one(logits, chosen) == expected
        counts[expected] += 1


def test_stop_tokens_wait_for_min_tokens() -> None:
    logits = np.array([0.0, 5.0, 4.0, 3.0])
    chosen = state(4, stop_ids=[1, 2], min_tokens=2, temperature=0.0)
    assert [one(logits, chosen) for _ in range(4)] == [3, 3, 1, 1]


def test_nothing_left_is_said_so() -> None:
    assert one([1.0, 2.0], state(2, stop_ids=[0, 1], min_tokens=1)) == NOTHING_LEFT


def log_softmax(logits: npt.ArrayLike) -> Floats:
    x = np.asarray(logits, dtype=np.float32).astype(np.float64)
    x -= x.max()
    return np.asarray(x - np.log(np.exp(x).sum()))


@pytest.mark.parametrize("vocab", [5, 300, 49_152])
def test_logprobs_are_of_the_logits_as_the_model_gave_them(vocab: int) -> None:
    logits = np.random.default_rng(vocab).normal(size=vocab) * 4
    chosen = state(vocab, logprobs=20, temperature=0.5, logit_bias={2: 50.0}, top_k=3)
    token = one(logits, chosen)
    expected = log_softmax(logits)
    given_ = chosen.logprobs
    assert token == given_.token_id == 2
    assert given_.logprob == pytest.approx(expected[2], abs=2e-6, rel=1e-6)
    order = in_order(np.asarray(logits, dtype=np.float32).astype(np.float64))[:20]
    assert [t for t, _ in given_.top] == order.tolist()
    assert [p for _, p in given_.top] == pytest.approx(expected[order], abs=2e-6, rel=1e-6)


def test_the_chosen_token_alone_when_no_alternatives_are_wanted() -> None:
    chosen = state(50, logprobs=0)
    token = one(np.zeros(50), chosen)
    assert chosen.logprobs.token_id == token
    assert chosen.logprobs.top == ()


def test_prompt_logprobs() -> None:
    rows = np.random.default_rng(8).normal(size=(4, 90)).astype(np.float32)
    targets = np.array([5, 89, 0], dtype=np.int32)
    found = Sampler(90).logprobs_of(rows, 1, targets, 2)
    assert found is not None
    for i, entry in enumerate(found):
        expected = log_softmax(rows[i + 1])
        assert entry.token_id == targets[i]
        assert entry.logprob == pytest.approx(expected[targets[i]], abs=2e-6)
        assert [t for t, _ in entry.top] == np.argsort(-rows[i + 1], kind="stable")[:2].tolist()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**64 - 1),
    cuts=st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.sampled_from([0.0, 0.7, 1.0, 2.0]),
            "top_p": st.sampled_from([0.1, 0.9, 0.999]),
            "top_k": st.sampled_from([1, 2, 50, 2_000]),
            "min_p": st.sampled_from([0.01, 0.5]),
            "repetition_penalty": st.just(1.3),
            "presence_penalty": st.just(0.7),
            "logprobs": st.integers(0, 20),
        },
    ),
    neighbours=st.integers(0, 8),
)
def test_a_row_is_alone_in_the_world(seed: int, cuts: dict[str, Any], neighbours: int) -> None:
    rng = np.random.default_rng(seed % 2**32)
    rows = np.ascontiguousarray(rng.normal(size=(neighbours + 1, 3_000)).astype(np.float32) * 3)
    place = int(rng.integers(neighbours + 1))
    sampler = Sampler(3_000)
    busy = [
        state(3_000, temperature=float(rng.choice([0, 1])), top_p=0.5, seed=i)
        for i in range(neighbours + 1)
    ]
    busy[place] = state(3_000, prompt=[1, 2], seed=seed, **cuts)
    alone = state(3_000, prompt=[1, 2], seed=seed, **cuts)
    for _ in range(3):
        together = sampler.choose(rows, list(range(neighbours + 1)), busy)[place]
        assert Sampler(3_000).choose(rows[place : place + 1], [0], [alone]) == [together]
        if "logprobs" in cuts:
            assert alone.logprobs == busy[place].logprobs


def test_a_seed_repeats_and_positions_differ() -> None:
    flat = np.zeros(1_000)
    first, second = state(1_000, seed=5), state(1_000, seed=5)
    tokens = [one(flat, first) for _ in range(20)]
    assert tokens == [one(flat, second) for _ in range(20)]
    assert len(set(tokens)) > 10
    other = state(1_000, seed=6)
    assert tokens != [one(flat, other) for _ in range(20)]
    # The position is the place in the whole sequence, so a longer prompt shifts the numbers.
    later = state(1_000, prompt=[0, 0], seed=5)
    assert [one(flat, later) for _ in range(19)] == tokens[1:]


def test_without_a_seed_each_request_draws_its_own() -> None:
    flat = np.zeros(5_000)
    assert len({one(flat, state(5_000, seed=None)) for _ in range(8)}) > 1


def test_seeds_of_64_bits_and_negative_ones() -> None:
    flat = np.zeros(5_000)
    assert one(flat, state(5_000, seed=-1)) == one(flat, state(5_000, seed=2**64 - 1))


# From the known-answer file of the authors' own library (Random123, kat_vectors, philox4x32 10).
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (
            [0xFFFFFFFF] * 4,
            [0xFFFFFFFF] * 2,
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        ),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox(counter: list[int], key: list[int], expected: list[int]) -> None:
    assert _native.philox4x32(counter, key) == expected


def test_the_uniform_number_is_in_range_and_even() -> None:
    numbers = np.array([_native.philox_uniform(9, i) for i in range(20_000)])
    assert 0 <= numbers.min() < 1e-3
    assert 1 - 1e-3 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(np.mean(numbers[1:] * numbers[:-1]) - 0.25) < 0.01


SCRIPT = """
import numpy as np
from tests.engine.test_sampler import CUTS, draws
logits = np.random.default_rng(1).normal(size=5000) * 2
for cuts in [*CUTS, {"top_k": 2000}, {"temperature": 0.0}]:
    print(draws(logits, 50, **cuts).tolist())
"""


@pytest.mark.parametrize("isa", _native.available_isas())
def test_each_instruction_set_gives_the_same_tokens(isa: str) -> None:
    """Weights differ in the last bits between sets; these draws are not that close to a border."""

    def run(name: str) -> str:
        environment = os.environ | {"CIERZO_ISA": name}
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=500
        )
        return done.stdout

    assert run(isa) == run(_native.available_isas()[0])


@pytest.mark.parametrize(
    "wrong", [{"logit_bias": {50: 1.0}}, {"prompt": [50]}, {"stop_ids": [-1]}], ids=str
)
def test_tokens_outside_the_vocabulary_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="outside the vocabulary"):
        state(50, **wrong)  # type: ignore[arg-type]


def test_a_row_that_is_not_there_is_refused() -> None:
    row = np.zeros((1, 50), dtype=np.float32)
    with pytest.raises(ValueError, match="row 1"):
        Sampler(50).choose(row, [1], [state(50)])
    with pytest.raises(ValueError, match="row 0"):
        Sampler(60).choose(row, [0], [state(60)])


def masks_of(vocab: int, *allowed: Iterable[int]) -> npt.NDArray[np.uint32]:
    rows = np.zeros((len(allowed), -(-vocab // 32)), dtype=np.uint32)
    for row, tokens in zip(rows, allowed, strict=True):
        for token in tokens:
            row[token // 32] |= np.uint32(1 << token % 32)
    return rows


@given(
    seed=st.integers(0, 2**32),
    vocab=st.sampled_from([5, 33, 700]),
    temperature=st.sampled_from([0.0, 0.7]),
    top_k=st.sampled_from([0, 3]),
    top_p=st.sampled_from([1.0, 0.5]),
)
def test_a_mask_is_the_same_as_a_vocabulary_of_its_tokens(
    seed: int, vocab: int, temperature: float, top_k: int, top_p: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal(vocab).astype(np.float32)
    allowed = sorted(rng.choice(vocab, rng.integers(1, vocab), replace=False).tolist())
    params: dict[str, Any] = {
        "seed": seed,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
    }
    row = logits.reshape(1, -1)
    masks = masks_of(vocab, [], allowed)
    found = Sampler(vocab).choose(row, [0], [state(vocab, **params)], masks, [1])[0]
    assert found in allowed
    alone = logits[allowed].reshape(1, -1)
    if temperature == 0 or 0 < top_k < len(allowed):
        assert allowed.index(found) == one(alone, state(len(allowed), **params))
    else:  # rows of another width are summed, or listed, in another order
        assert reference(alone[0], SamplingParams(**params))[allowed.index(found)] > 0


def test_a_mask_without_tokens_leaves_nothing() -> None:
    row = np.zeros((1, 40), dtype=np.float32)
    states = [state(40), state(40)]
    assert Sampler(40).choose(row, [0, 0], states, masks_of(40, [], [39]), [0, 1]) == [
        NOTHING_LEFT,
        39,
    ]


def test_a_slot_outside_the_masks_is_refused() -> None:
    row = np.zeros((1, 40), dtype=np.float32)
    with pytest.raises(ValueError, match="slot 2"):
        Sampler(40).choose(row, [0], [state(40)], masks_of(40, [1]), [2])


def test_forbidden_tokens_are_never_chosen_whatever_their_bias() -> None:
    logits = np.array([9.0, 8.0, 0.0], dtype=np.float32)
    assert one(logits, state(3, temperature=0.0, forbidden=(0,))) == 1
    assert one(logits, state(3, temperature=0.0, forbidden=(0, 1), logit_bias={0: 100.0})) == 2
    assert one(logits, state(3, temperature=0.0, forbidden=(0, 1, 2))) == NOTHING_LEFT


@pytest.mark.parametrize("top_k", [0, 5])
def test_top_a_keeps_what_is_likely_enough_beside_the_most_likely(top_k: int) -> None:
    # Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625: the bound is 0.4 * 0.5**2 = 0.1.
    logits = np.log(np.array([0.5, 0.25, 0.125, 0.0625, 0.0625], dtype=np.float32))
    found = draws(logits, 400, top_a=0.4, top_k=top_k)
    assert set(found.tolist()) == {0, 1, 2}
    assert set(draws(logits, 400, top_a=1.0, top_k=top_k).tolist()) == {0, 1}


@given(seed=st.integers(0, 2**32), length=st.integers(1, 30), again=st.integers(1, 30))
def test_taking_tokens_back_leaves_no_trace(seed: int, length: int, again: int) -> None:
    rng = np.random.default_rng(seed)
    row = rng.standard_normal((1, 50)).astype(np.float32)
    params: dict[str, Any] = {
        "seed": seed,
        "repetition_penalty": 1.3,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.7,
    }
    plain, rewound = (state(50, prompt=(3, 4), **params) for _ in range(2))
    kept = rng.integers(0, 50, length).tolist()
    dropped = rng.integers(0, 50, again).tolist()
    for token in kept:
        plain.accept(token)
        rewound.accept(token)
    for token in dropped:
        rewound.accept(token)
    for token in reversed(dropped):
        rewound.retract(token)
    sampler = Sampler(50)
    for _ in range(3):
        assert sampler.choose(row, [0], [plain]) == sampler.choose(row, [0], [rewound])
