"""Masks tried on texts, a byte at a time."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from cierzo.grammar.schema import Enforced, enforce
from cierzo.grammar.verifier import Verifier


class _Bytes:
    eos_token_id = 256
    bos_token_id = None
    special_token_ids = (256,)
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
    return enforced.exact or Verifier(json.dumps(schema)).violation(text.encode()) is None
