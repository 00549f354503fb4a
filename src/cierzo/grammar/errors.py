"""What can go wrong with a grammar."""

from __future__ import annotations


class GrammarError(ValueError):
    """A grammar that cannot be compiled, in one line for who asked for it."""


class PrefixError(GrammarError):
    """A beginning of an answer that the grammar does not allow."""
