"""Each answer has a grammar of its own: one that has met its bounds does not spoil the next."""

from __future__ import annotations

import llguidance
import pytest

from cierzo.grammar import compiler
from cierzo.grammar.compiler import GrammarCompiler
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.schema.subset.inlining import inlined
from cierzo.grammar.vocabulary import TokenBytes, Vocabulary

TOKENS = (b"</s>", *(bytes([byte]) for byte in range(256)))
WORDS = {"type": "string", "pattern": r"^(\S+\s+){0,99}\S+$", "maxLength": 500}
CONSTRAINT = Constraint(grammar=f"start: {inlined(WORDS)}\n")


@pytest.mark.parametrize("at_once", [False, True])
def test_bounds_that_one_answer_met_are_whole_for_the_next(
    monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    tight = llguidance.LLParserLimits(step_lexer_fuel=1_000, verbose_errors=False)
    monkeypatch.setattr(compiler, "parser_limits", lambda: tight)
    grammars = GrammarCompiler(Vocabulary(TokenBytes(TOKENS, (0,), (0,), ""), len(TOKENS)))
    text = [byte + 1 for byte in ('"' + "wörter und wórds " * 20).encode()]
    grammars.check(CONSTRAINT)
    first = grammars.take(CONSTRAINT).matcher
    again = grammars.take(CONSTRAINT).matcher if at_once else None
    assert first.try_consume_tokens(text) < len(text)
    again = again or grammars.take(CONSTRAINT).matcher
    assert again.try_consume_tokens(text[:3]) == 3
    assert not again.is_error()


def test_what_was_checked_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    grammars = GrammarCompiler(Vocabulary(TokenBytes(TOKENS, (0,), (0,), ""), len(TOKENS)))
    grammars.check(CONSTRAINT)
    monkeypatch.setattr(compiler, "parser_limits", None)  # what compiling needs
    assert grammars.take(CONSTRAINT).constraint == CONSTRAINT
    with pytest.raises(TypeError):
        grammars.take(CONSTRAINT)


def test_what_is_used_again_is_compiled_before_its_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grammars = GrammarCompiler(Vocabulary(TokenBytes(TOKENS, (0,), (0,), ""), len(TOKENS)))
    used = []
    for _ in range(2):
        used.append(grammars.take(CONSTRAINT).matcher)
        grammars.renew(CONSTRAINT)
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "parser_limits", None)
        used.append(grammars.take(CONSTRAINT).matcher)
        with pytest.raises(TypeError):
            grammars.take(CONSTRAINT)
    assert len(set(map(id, used))) == 3  # each its own


def test_what_is_used_once_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    grammars = GrammarCompiler(Vocabulary(TokenBytes(TOKENS, (0,), (0,), ""), len(TOKENS)))
    grammars.check(CONSTRAINT)
    grammars.take(CONSTRAINT)
    monkeypatch.setattr(compiler, "parser_limits", None)
    grammars.renew(CONSTRAINT)
