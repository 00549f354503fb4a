"""A mask as a part of a grammar that llguidance compiles by itself, and what it says of one."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

# What compiling a grammar may take. llguidance counts work, not time: the same everywhere.
COMPILE_LIMITS: dict[str, Any] = {
    "initial_lexer_fuel": 2_000_000,
    # A token is consumed while all others wait: in 2 ms at most, and its mask is filled in 20. Of
    # the schemas that people write, none comes near.
    "step_lexer_fuel": 100_000,
    "step_max_items": 20_000,
    "max_items_in_row": 1_000,
    "max_lexer_states": 100_000,
    "max_grammar_size": 200_000,
    "verbose_errors": False,
}

GUIDANCE: dict[str, Any] = {
    "item_separator": ", ",
    "key_separator": ": ",
    "whitespace_flexible": False,
    # No \uXXXX: names that are taken must have one spelling. So strings that are free have no
    # control characters but those with a short escape; `outline` writes constants that do.
    "json_allowed_escapes": 'nrbtf\\"',
}


CONTRADICTION = "Unsatisfiable schema: its parts contradict each other"


def inlined(mask: dict[str, Any]) -> str:
    """The mask for llguidance's own compiler, and the one spelling that json.dumps has."""
    return f"%json {json.dumps({**mask, 'x-guidance': GUIDANCE})}"


def limits() -> LLParserLimits:
    return LLParserLimits(**COMPILE_LIMITS)


def refusal(expression: str) -> str | None:
    """Why llguidance refuses a grammar for a value; None: it does not."""
    failed, messages = LLMatcher.validate_grammar_with_warnings(
        f"start: {expression}\n", limits=limits()
    )
    return messages[0] if failed else None


def is_empty(terminal: str) -> bool:
    """Whether no text at all is matched by the body of a terminal, of at least a character."""
    matcher = LLMatcher(_bytes(), f"start: T\nT: {terminal}\n", log_level=0, limits=limits())
    if matcher.is_error():
        return False  # it is too large, and will be refused
    matcher.compute_bitmask()
    return matcher.is_stopped()


class _Bytes:
    """A vocabulary of bytes alone."""

    eos_token_id = 256
    bos_token_id = None
    special_token_ids = (256,)
    tokens = (*(bytes([byte]) for byte in range(256)), b"</s>")

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@cache
def _bytes() -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Bytes()))


def unsatisfiable(message: str) -> bool:
    return (
        "Unsatisfiable schema" in message or "unsatisfiable" in message.split("\n", maxsplit=1)[0]
    )
