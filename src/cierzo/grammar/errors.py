"""What can go wrong with a grammar, told in one line."""

from __future__ import annotations


def one_line(text: object, length: int = 300) -> str:
    """What a library says of an error, on one line and not too long."""
    return " ".join(str(text).split())[:length]


class GrammarError(ValueError):
    """A grammar that cannot be compiled, in one line for who asked for it."""


class BeginningError(GrammarError):
    """A beginning of an answer that the grammar does not allow."""
