"""What is wrong with a schema, in one line."""

from __future__ import annotations

from collections.abc import Iterable

from cierzo.grammar.errors import one_line


class SchemaError(ValueError):
    """A schema that cannot be served. `path` names the part: ("properties", "a", "pattern")."""

    def __init__(self, message: str, path: Iterable[str | int] = ()) -> None:
        self.path = tuple(path)
        super().__init__(one_line(message))


class SchemaTooLarge(SchemaError):
    """A schema that makes sense, and is more than is dealt with."""
