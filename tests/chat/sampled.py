"""Answers to test with: tokens drawn at random from what a grammar allows."""

from __future__ import annotations

import random
from functools import cache

import numpy as np
import numpy.typing as npt

from cierzo.chat.tokenizers.tokenizer import Tokenizer, token_bytes_of
from cierzo.grammar.compiler import GrammarCompiler
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.vocabulary import Vocabulary

# Tokens that end strings, lists and objects, or are rare in them.
_ENDS = (b'"', b'"}', b'",', b"}", b"]", b'"}}', b"}}")
_ESCAPES = (b"\\", b"\\n", b'\\"', b"\\\\", b"\\u", b"\x7f", b"\xe2", b"\xf0")


@cache
def compiler_of(tokenizer: Tokenizer) -> GrammarCompiler:
    """Grammars over a tokenizer's vocabulary."""
    return GrammarCompiler(Vocabulary(token_bytes_of(tokenizer), tokenizer.vocab_size))


def sample(
    tokenizer: Tokenizer, constraint: Constraint, rng: random.Random, limit: int = 400
) -> list[int]:
    """A whole answer from where the grammar begins, without the end token.

    After `limit` tokens only what brings it nearer to its end is drawn, where there is such.
    """
    matcher = compiler_of(tokenizer).take(constraint).matcher
    drawn: list[int] = []
    while not matcher.is_stopped():
        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")
        assert allowed.any(), "the grammar allows nothing, not even the end"
        token = _draw(tokenizer, allowed, rng, hurry=len(drawn) > limit)
        assert matcher.consume_token(token)
        if token not in tokenizer.eos_token_ids:
            drawn.append(token)
        assert len(drawn) < 20 * limit, tokenizer.decode(drawn)
    assert not matcher.is_error(), matcher.get_error()
    return drawn


def accepts(tokenizer: Tokenizer, constraint: Constraint, ids: list[int]) -> bool:
    """Whether the grammar allows these tokens, and the end after them."""
    matcher = compiler_of(tokenizer).take(constraint).matcher
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


@cache
def _spelled(tokenizer: Tokenizer, spellings: tuple[bytes, ...]) -> tuple[int, ...]:
    return tuple(i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i) in spellings)


def _draw(
    tokenizer: Tokenizer, allowed: npt.NDArray[np.uint8], rng: random.Random, *, hurry: bool
) -> int:
    ends = [i for i in tokenizer.eos_token_ids if allowed[i]]
    if ends and (hurry or rng.random() < 0.3):
        return ends[0]
    favoured = _ENDS if hurry or rng.random() < 0.7 else _ESCAPES
    if hurry or rng.random() < 0.4:
        found = [i for i in _spelled(tokenizer, favoured) if allowed[i]]
        if found:
            return rng.choice(found)
    return int(rng.choice(np.flatnonzero(allowed)))
