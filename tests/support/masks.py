"""Masks tried on texts, a byte at a time."""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from cierzo.grammar.schema import Enforced, enforce
from cierzo.grammar.verifier import Verifier

EOS = 256


class _Bytes:
    eos_token_id = EOS
    bos_token_id = None
    special_token_ids = (EOS,)
    tokens = (*(bytes([byte]) for byte in range(256)), b"</s>")

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@cache
def byte_tokenizer() -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Bytes()))


def matcher_for(enforced: Enforced) -> LLMatcher:
    grammar = f"start: value\nvalue[capture]: {enforced.expression}\n"
    matcher = LLMatcher(byte_tokenizer(), grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    return matcher


def takes(enforced: Enforced, text: str) -> bool:
    """Whether the mask lets the whole text through."""
    matcher = matcher_for(enforced)
    data = list(text.encode())
    return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()


def lets_through(schema: Any, value: Any) -> bool:
    """Whether mask and verifier together let a value through, in its one spelling."""
    enforced = enforce(schema)
    text = json.dumps(value, ensure_ascii=False)
    if not takes(enforced, text):
        return False
    return enforced.exact or Verifier(schema).violation(text.encode()) is None


def walked(matcher: LLMatcher, draw: random.Random, most: int = 300) -> str | None:
    """A text that the mask lets through, at random; None if it did not end in time.

    AssertionError where the mask leads into a dead end.
    """
    matcher = matcher.deep_copy()
    text = bytearray()
    while len(text) < most:
        mask = matcher.compute_logit_bias()
        allowed = [token for token in range(257) if mask[token]]
        assert not matcher.is_error(), (bytes(text), matcher.get_error())
        if allowed == [EOS] or matcher.is_stopped() or (EOS in allowed and draw.random() < 0.4):
            assert matcher.is_accepting(), bytes(text)
            return text.decode()
        allowed = [token for token in allowed if token != EOS]
        ends = [token for token in allowed if token in b'"}]']
        hurry = 0.2 if len(text) < 60 else 0.9
        token = draw.choice(ends if ends and draw.random() < hurry else allowed)
        assert matcher.consume_token(token), (bytes(text), token)
        text.append(token)
    return None
