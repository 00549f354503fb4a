"""How large a schema may be. What is larger is refused before anything is done with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cierzo.grammar.schema.errors import SchemaError, SchemaTooLarge
from cierzo.settings import Limits

_HALVES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class SchemaLimits:
    """The bounds of `settings.Limits` that are about schemas."""

    bytes: int  # characters of all names and strings, and a few for each value
    values: int  # objects, arrays and plain values
    depth: int  # of nesting
    enum: int  # values in one enum
    names: int  # properties (or definitions) in one place
    pattern_chars: int  # characters in one pattern
    expanded: int = 40_000  # subschemas after rewriting


def schema_limits(limits: Limits) -> SchemaLimits:
    """What the server's settings say of schemas."""
    return SchemaLimits(
        bytes=limits.schema_bytes,
        values=limits.schema_values,
        depth=limits.schema_depth,
        enum=limits.schema_enum,
        names=limits.schema_names,
        pattern_chars=limits.pattern_chars,
    )


DEFAULT_LIMITS = schema_limits(Limits())


def check_size(schema: Any, limits: SchemaLimits) -> None:
    """Raises SchemaError if the schema is too large; stops as soon as that is known."""
    size = count = 0
    stack: list[tuple[Any, tuple[str | int, ...]]] = [(schema, ())]
    while stack:
        value, path = stack.pop()
        count += 1
        size += len(value) if isinstance(value, str) else 2
        if isinstance(value, str):
            _check_halves(value, path)
            if path and path[-1] == "pattern" and len(value) > limits.pattern_chars:
                raise SchemaTooLarge(f"is longer than {limits.pattern_chars} characters", path)
        elif isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise SchemaError("a key is not a string", path)
            if len(value) > limits.names:
                raise SchemaTooLarge(
                    f"has {len(value)} entries; at most {limits.names} may be", path
                )
            size += sum(len(key) for key in value)
            _check_halves("".join(value), path)
            stack.extend((child, (*path, key)) for key, child in value.items())
        elif isinstance(value, list):
            most = {"enum": limits.enum, "required": limits.names}.get(
                str(path[-1]) if path else "", limits.values
            )
            if len(value) > most:
                raise SchemaTooLarge(f"has {len(value)} values; at most {most} may be", path)
            stack.extend((child, (*path, at)) for at, child in enumerate(value))
        elif not isinstance(value, int | float | bool | None):
            raise SchemaError(f"{type(value).__name__} is not a JSON value", path)
        if len(path) > limits.depth:
            raise SchemaTooLarge(f"is nested deeper than {limits.depth} levels", path[:6])
        if size > limits.bytes or count > limits.values:
            bounds = f"{limits.values} values and {limits.bytes} characters"
            raise SchemaTooLarge(f"is larger than {bounds}", path[:2])


def _check_halves(text: str, path: tuple[str | int, ...]) -> None:
    if not text.isascii() and _HALVES.search(text):
        raise SchemaError("has half of a surrogate pair, which no text in UTF-8 can have", path)
