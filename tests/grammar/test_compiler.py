"""Compiled grammars are kept, and one that has met its bounds does not spoil the next answer."""

from __future__ import annotations

import llguidance
import pytest

from cierzo.grammar import compiler
from cierzo.grammar.compiler import GrammarCompiler
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.schema import inline
from cierzo.grammar.vocabulary import TokenBytes, Vocabulary

TOKENS = (b"</s>", *(bytes([byte]) for byte in range(256)))
WORDS = {"type": "string", "pattern": r"^(\S+\s+){0,99}\S+$", "maxLength": 500}
CONSTRAINT = Constraint(grammar=f"start: %json {inline(WORDS)}\n")


def test_a_grammar_that_met_its_bounds_is_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    tight = llguidance.LLParserLimits(step_lexer_fuel=1_000, verbose_errors=False)
    monkeypatch.setattr(compiler, "parser_limits", lambda: tight)
    grammars = GrammarCompiler(Vocabulary(TokenBytes(TOKENS, (0,), (0,), ""), len(TOKENS)))
    text = [byte + 1 for byte in ('"' + "wörter und wórds " * 20).encode()]
    first = grammars.compile(CONSTRAINT).matcher
    assert first.try_consume_tokens(text) < len(text)
    again = grammars.compile(CONSTRAINT).matcher
    assert again.try_consume_tokens(text[:3]) == 3
    assert not again.is_error()
