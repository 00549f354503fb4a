"""The model that knows one session: a Mistral checkpoint with a cut Tekken v13 vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cierzo.backends.tensor import StorageType
from cierzo.chat.templates.load import load_chat_template
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.model.readers.contents import TokenizerSource
from tests.agents.lessons import Lessons, Turn
from tests.support.checkpoints import write_mistral
from tests.support.tiny_model import TinyModel, Weights, random_weights, tekken_model
from tests.support.tokenizers import TEKKEN_SPECIAL_COUNT, tekken_json
from tests.support.train import Course, Report, train

BYTE_TOKENS = 4_000  # of Tekken's 130,072: prompts get a quarter longer than with all of them
HELD_OUT = (*[0.01] * 12, *[0.1] * 4, 0.3, 0.9)  # of the longest prompt
MAX_MODEL_LEN = 32_768


def train_student(
    folder: Path, turns: Sequence[Turn], course: Course | None = None, *, prompt: int, seed: int = 0
) -> Report:
    """Writes a checkpoint in Mistral's layout that was taught the session.

    It knows its part after any prompt of up to about `prompt` tokens.
    """
    model = tekken_model(
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        intermediate_size=256,
        vocab_size=BYTE_TOKENS + TEKKEN_SPECIAL_COUNT,
        max_position_embeddings=MAX_MODEL_LEN,
        tie_word_embeddings=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "tekken.json"
    vocabulary.write_text(tekken_json(BYTE_TOKENS), encoding="utf-8")
    source = TokenizerSource("tekken", vocabulary, None, 1, (2,), True, {})
    tokenizer = load_tokenizer(source)
    template = load_chat_template(source, tokenizer)
    lessons = Lessons(tokenizer, template, turns, prompt, seed)
    unseen = Lessons(tokenizer, template, turns, prompt, seed + 1)
    held_out = [unseen.whole(share) for share in HELD_OUT]
    weights, report = train(model, _start(model, lessons, seed), lessons.draw, held_out, course)
    write_mistral(folder, model, weights=weights, dtype=StorageType.F32)
    vocabulary.write_text(tekken_json(BYTE_TOKENS), encoding="utf-8")
    return report


def _start(model: TinyModel, lessons: Lessons, seed: int) -> Weights:
    """Random weights to which all words are one that the session does not use.

    So what is learnt of one such word holds for every other, also for those no lesson has.
    """
    weights = random_weights(model, seed)
    embeddings = weights["model.embed_tokens.weight"]
    own = lessons.vocabulary()
    other = next(token for token in range(model.vocab_size - 1, 0, -1) if token not in own)
    alike = np.delete(np.arange(model.vocab_size), own)
    embeddings[alike] = embeddings[other]
    return weights
