"""What a tokenizer hands to the engine process cuts text as the tokenizer itself does."""

from __future__ import annotations

from pathlib import Path

import pytest

from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer, token_bytes_of
from cierzo.grammar.vocabulary import Vocabulary
from tests.chat import texts
from tests.chat.vocabularies import (
    CHATML_WORDS,
    LLAMA2,
    gguf_source,
    hf_source,
    sentencepiece_json,
    tekken_source,
    tokenizer_json,
)


@pytest.fixture(scope="module", params=["smollm", "llama-bpe", "tekken", "tokenizer.json"])
def tokenizer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Tokenizer:
    if request.param == "tekken":
        return load_tokenizer(tekken_source())
    if request.param == "tokenizer.json":
        path: Path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
        path.write_text(tokenizer_json("gpt-2"))
        return load_tokenizer(hf_source(path))
    return load_tokenizer(gguf_source(request.param))


def test_text_has_the_same_tokens(tokenizer: Tokenizer) -> None:
    vocabulary = Vocabulary(token_bytes_of(tokenizer), tokenizer.vocab_size)
    assert vocabulary.forces
    for text in (*texts.CORNERS[:6], *texts.CORNERS[7:], " ".join(CHATML_WORDS), "a<tool_call>b"):
        assert vocabulary.encode(text) == tokenizer.encode(text), text


def test_tokens_have_the_same_bytes(tokenizer: Tokenizer) -> None:
    source = token_bytes_of(tokenizer)
    assert source.control == tuple(sorted(tokenizer.control_tokens.values()))
    for i in range(0, tokenizer.vocab_size, 97):
        assert source.tokens[i] == tokenizer.token_bytes(i)


def test_a_vocabulary_that_puts_a_space_in_front_has_none(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(sentencepiece_json(**LLAMA2))
    tokenizer = load_tokenizer(hf_source(path))
    assert not Vocabulary(token_bytes_of(tokenizer), tokenizer.vocab_size).forces
