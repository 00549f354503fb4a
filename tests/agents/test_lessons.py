"""The lessons say what the server would read and write, and the training's model is Cierzo's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from cierzo.chat.templates.load import load_chat_template
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.model.readers.contents import TokenizerSource
from tests.agents.lessons import Lessons, Turn
from tests.support.reference import reference_logits
from tests.support.tiny_model import random_weights, tekken_model
from tests.support.tokenizers import tekken_json
from tests.support.train import Course, Lesson, logits_and_targets, train

TURNS = [
    Turn("Look.", "bash", {"command": "cat 'a\\b.txt'"}),
    Turn(None, "edit", {"old": "one", "new": "two"}),
    Turn("Done."),
]
MODEL = tekken_model(hidden_size=64, num_attention_heads=2, num_key_value_heads=1, head_dim=32)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TokenizerSource:
    path = tmp_path_factory.mktemp("tekken") / "tekken.json"
    path.write_text(tekken_json(), encoding="utf-8")
    return TokenizerSource("tekken", path, None, 1, (2,), True, {})


@pytest.fixture(scope="module")
def tokenizer(source: TokenizerSource) -> Tokenizer:
    return load_tokenizer(source)


@pytest.fixture
def lessons(source: TokenizerSource, tokenizer: Tokenizer) -> Lessons:
    return Lessons(tokenizer, load_chat_template(source, tokenizer), TURNS, 1_000, seed=0)


def test_the_assistants_turns_are_to_be_learnt_and_nothing_else(
    lessons: Lessons, tokenizer: Tokenizer
) -> None:
    expected = "".join(
        (turn.text or "")
        + (f"[TOOL_CALLS]{turn.tool}[ARGS]{json.dumps(turn.arguments)}" if turn.tool else "")
        + "</s>"
        for turn in TURNS
    )
    for lesson in [lessons.draw() for _ in range(20)] + [lessons.whole(0.5)]:
        said = lesson.tokens[lesson.weights > 0]
        assert tokenizer.decode([int(t) for t in said], skip_special=False) == expected


def test_a_drawn_lesson_is_a_sample_of_a_longer_prompt(lessons: Lessons) -> None:
    drawn = [lessons.draw() for _ in range(900)][-100:]
    for lesson in drawn:
        left_out = int(lesson.positions[-1]) + 1 - len(lesson.tokens)
        assert 0 <= left_out <= 1_000
        assert (np.diff(lesson.positions) > 0).all()
        assert lesson.counts.sum() - len(lesson.tokens) == pytest.approx(left_out, abs=2)
    assert max(int(lesson.positions[-1]) for lesson in drawn) > 1_000


def test_the_same_seed_draws_the_same_lessons(
    source: TokenizerSource, tokenizer: Tokenizer, lessons: Lessons
) -> None:
    again = Lessons(tokenizer, load_chat_template(source, tokenizer), TURNS, 1_000, seed=0)
    for _ in range(5):
        assert np.array_equal(lessons.draw().tokens, again.draw().tokens)


def test_the_model_that_learns_is_the_one_that_is_served() -> None:
    weights = random_weights(MODEL)
    tokens = np.random.default_rng(1).integers(0, MODEL.vocab_size, 40)
    every = np.ones(40, np.float32)
    lesson = Lesson(tokens, np.arange(40), every * (np.arange(40) > 0), every)
    logits, targets = logits_and_targets(
        {n: torch.from_numpy(w) for n, w in weights.items()}, MODEL, lesson
    )
    expected = reference_logits(weights, MODEL, [int(t) for t in tokens], cache=np.float64)
    np.testing.assert_allclose(logits.numpy(), expected[:-1], atol=1e-4)
    assert targets.tolist() == tokens[1:].tolist()


def test_a_token_that_counts_twice_weighs_as_two() -> None:
    """As two equal tokens at one position would."""
    weights = {name: torch.from_numpy(w) for name, w in random_weights(MODEL).items()}
    last = np.array([0, 0, 0, 1], np.float32)
    twice = Lesson(
        np.array([5, 6, 7, 8]), np.array([0, 1, 3, 4]), last, np.array([1, 2, 1, 1], np.float32)
    )
    spelled = Lesson(
        np.array([5, 6, 6, 7, 8]),
        np.array([0, 1, 1, 3, 4]),
        np.append(last[:1], last),
        np.ones(5, np.float32),
    )
    one_layer = tekken_model(
        hidden_size=64,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        num_hidden_layers=1,
    )
    first, _ = logits_and_targets(weights, one_layer, twice)
    second, _ = logits_and_targets(weights, one_layer, spelled)
    torch.testing.assert_close(first, second)


def test_training_that_does_not_succeed_says_so(lessons: Lessons) -> None:
    with pytest.raises(AssertionError, match="after 2 steps a token to learn has probability 0"):
        train(
            MODEL,
            random_weights(MODEL),
            lessons.draw,
            [lessons.whole(0.1)],
            Course(steps=2, batch=1, warm_up=1, between_checks=1),
        )
