"""How much text the grammar of a schema may force at once.

llguidance works out all that must follow in one go, and holds the interpreter's lock meanwhile:
a microsecond for each character, or 20 s for an array of 1,500 long constants. Nobody can stop it,
so it must be known before; what forces more is sampled token by token instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cierzo.grammar.pattern import Node, PatternError, parse
from cierzo.grammar.pattern.nodes import Chars, Choice, Look, Repeat, Sequence
from cierzo.grammar.schema.dialect import draft_of
from cierzo.grammar.schema.errors import SchemaError
from cierzo.grammar.schema.references import References

MOST_FORCED = 16_000  # characters: 20 ms, tokens and all
UNBOUNDED = 1 << 40
MOST_VISITS = 200_000  # of subschemas; what has more is not looked through
# How deep a model may nest a value that holds itself; then all that closes it is forced at once.
DEEPEST = 2_000

_LISTS = ("allOf",)
_ALTERNATIVES = ("anyOf", "oneOf")
_SINGLE = ("not", "if", "then", "else")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_MAY_FIX = {"const", "enum", "pattern", "allOf", *_REFERENCES}
_ITEMS = ("items", "additionalItems", "unevaluatedItems", "contains")
_VALUES = ("additionalProperties", "unevaluatedProperties", "propertyNames")


def most_forced(schema: Any) -> int:
    """An upper bound on the characters that are forced at once, wherever in a value."""
    try:
        return min(_Reader(schema).length(schema), UNBOUNDED)
    except (SchemaError, RecursionError):
        return UNBOUNDED


class _Reader:
    """Adds up constants, names and the fixed parts of patterns, as often as they must stand there.

    Of alternatives it takes the longest. What may be left out counts like what may not: once it
    is begun, the rest of it is forced.
    """

    def __init__(self, schema: Any) -> None:
        self._references = References(schema, draft_of(schema))
        self._base = self._references.root.base
        self._known: dict[tuple[int, int, int], tuple[int, bool]] = {}
        self._left = MOST_VISITS

    def length(self, schema: Any) -> int:
        return self._value(schema, self._base)[0]

    def _value(self, node: Any, base: str) -> tuple[int, bool]:
        """A value's length, and whether the value may hold one of its own kind."""
        counts = [self._counts(part) for part in self._in_place(node, base)]
        items = max((count for count, _ in counts), default=0)
        names = max((count for _, count in counts), default=0)
        return self._part(node, base, max(items, 1), max(names, 1))

    def _in_place(self, node: Any, base: str) -> Iterator[dict[str, Any]]:
        """The schemas that apply to the same value."""
        stack, seen = [(node, base)], set[int]()
        while stack:
            part, base = stack.pop()
            if not isinstance(part, dict) or id(part) in seen:
                continue
            self._visit()
            seen.add(id(part))
            yield part
            stack += self._beside(part, base, (*_LISTS, *_ALTERNATIVES))

    def _beside(
        self, node: dict[str, Any], base: str, lists: tuple[str, ...]
    ) -> Iterator[tuple[Any, str]]:
        base = self._references.base_of(node, base)
        for key in _REFERENCES:
            if key in node:
                target = self._references.resolve(node[key], base, ())
                yield target.node, target.base
        for key in lists:
            yield from ((part, base) for part in node.get(key, ()))
        yield from ((node[key], base) for key in _SINGLE if key in node)
        for key in ("dependentSchemas", "dependencies"):
            yield from ((part, base) for part in node.get(key, {}).values())

    @staticmethod
    def _counts(node: dict[str, Any]) -> tuple[int, int]:
        """How many items, and how many properties, there must be."""
        return (
            _number(max(node.get("minItems", 0), node.get("minContains", 0))),
            _number(node.get("minProperties", 0)),
        )

    def _part(self, node: Any, base: str, items: int, names: int) -> tuple[int, bool]:
        """The part of a value's length that one schema is to blame for."""
        if not isinstance(node, dict):
            return 0, False
        key = id(node), items, names
        if key not in self._known:
            self._visit()
            self._known[key] = 0, True  # what is found while it is being looked at
            beside = self._beside(node, base, _LISTS)
            base = self._references.base_of(node, base)
            found = [
                self._own(node),
                self._array(node, base, items),
                self._object(node, base, names),
                *(self._part(part, its, items, names) for part, its in beside),
            ]
            for name in _ALTERNATIVES:
                parts = [self._part(part, base, items, names) for part in node.get(name, ())]
                longest = max((length for length, _ in parts), default=0)
                found.append((longest, any(again for _, again in parts)))
            self._known[key] = sum(length for length, _ in found), any(again for _, again in found)
        return self._known[key]

    def _own(self, node: dict[str, Any]) -> tuple[int, bool]:
        values = [*node.get("enum", ()), *([node["const"]] if "const" in node else [])]
        length = max((len(json.dumps(value)) for value in values), default=0)
        length += _pattern(node.get("pattern", "")) + _number(node.get("minLength", 0))
        required = node.get("required")
        if isinstance(required, list):
            length += sum(len(name) + 6 for name in required)
        return length, False

    def _array(self, node: dict[str, Any], base: str, count: int) -> tuple[int, bool]:
        first = node.get("prefixItems", ())
        first = node["items"] if isinstance(node.get("items"), list) else first
        found = self._row(((0, item) for item in first), base) if first else (0, False)
        for key in _ITEMS:
            if isinstance(node.get(key), dict):
                length, again = self._value(node[key], base)
                found = found[0] + (length + 2) * count, found[1] or again
        return found

    def _object(self, node: dict[str, Any], base: str, count: int) -> tuple[int, bool]:
        members = ((len(n) + 6, part) for n, part in node.get("properties", {}).items())
        found = self._row(members, base)
        others = [(0, node[key]) for key in _VALUES if key in node]
        others += [(_pattern(n) + 6, part) for n, part in node.get("patternProperties", {}).items()]
        for extra, part in others:
            length, again = self._value(part, base)
            found = found[0] + (extra + length) * count, found[1] or again
        return found

    def _row(self, members: Iterator[tuple[int, Any]], base: str) -> tuple[int, bool]:
        """Members that stand one behind the other."""
        total, recursive = 0, False
        closing, interrupted = 0, False  # what follows the last that may hold its own kind
        for extra, part in members:
            length, again = self._value(part, base)
            total += extra + length
            if again:
                recursive, closing, interrupted = True, 0, False
            else:
                closing += extra + length
                interrupted |= _is_free(part)
        if recursive and not interrupted:
            total += closing * DEEPEST
        return total, recursive

    def _visit(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise SchemaError("there is too much of it")


def _is_free(part: Any) -> bool:
    """Whether the value has to be chosen, so that nothing is forced across it."""
    if not isinstance(part, dict) or part.keys() & _MAY_FIX:
        return False
    return part.get("type") in ("string", "integer", "number", "boolean")


def _number(value: Any) -> int:
    return int(min(value, UNBOUNDED))


def _pattern(text: str) -> int:
    try:
        return _fixed(parse(text)) if text else 0
    except PatternError:
        return len(text)


def _fixed(node: Node) -> int:
    """Characters of the shortest text, where all of it is fixed."""
    if isinstance(node, Chars):
        return 1
    if isinstance(node, Sequence):
        return sum(map(_fixed, node.items))
    if isinstance(node, Choice):
        return max(map(_fixed, node.options), default=0)
    if isinstance(node, Repeat):
        return _fixed(node.item) * max(node.low, 1)
    return _fixed(node.item) if isinstance(node, Look) else 0
