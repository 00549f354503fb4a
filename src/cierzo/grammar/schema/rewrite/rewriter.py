"""The state of one rewriting: where in the schema it stands, and whether anything is lost.

Every part is written so that the mask allows all that the schema allows, and as little more as can
be said; `exact` tells whether it is more at all. Where "somewhere in it there must be one" cannot
be said, `guess` chooses places for it, and the mask allows less: the model could hardly hit on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from cierzo.grammar.pattern import Work
from cierzo.grammar.schema.dialect import Path
from cierzo.grammar.schema.errors import SchemaError, SchemaTooLarge
from cierzo.grammar.schema.limits import SchemaLimits
from cierzo.grammar.schema.masks import Known, Mask
from cierzo.grammar.schema.references import Place, References

_DEEP = 40


# What a schema that is an object becomes: the mask of what is valid under it, or of what is not.
Rules: TypeAlias = "Callable[[Rewriter, Place, bool], Mask]"


class Rewriter:
    """Goes down through a schema's parts and references; `rules` says what each becomes."""

    def __init__(
        self,
        references: References,
        draft: int,
        limits: SchemaLimits,
        valid: Callable[[Any, Any], bool],
        rules: Rules,
        *,
        guess: bool,
        most_ways: int,
    ) -> None:
        self._rules = rules
        self.references = references
        self.draft = draft
        self.valid = valid  # (schema, value): whether the value is valid under this part
        self.guess = guess
        self.most_ways = most_ways  # through the alternatives of one schema
        self.guessed = False
        self.exact = True
        self.pattern_cost = 0
        self.work = Work()  # for matching all names with all patterns
        self.definitions: dict[str, Mask | None] = {}
        self.known = Known(self.definitions)
        self.paths: dict[str, Path] = {}
        self._names: dict[tuple[int, bool], str] = {}
        self._parts: dict[tuple[int, bool], Mask] = {}
        self._later: list[tuple[str, Place, bool]] = []
        self._unmoved: tuple[str, ...] = ()  # definitions entered since the last step into a value
        self._depth = 0
        self._count = 0
        self._limits = limits

    def run(self) -> dict[str, Any]:
        root = self.reference(self.references.root, positive=True)
        while self._later:
            name, place, positive = self._later.pop()
            self.definitions[name] = self._build(name, place, positive)
        mask: dict[str, Any] = {"allOf": [False]} if root is False else {}
        if isinstance(root, dict):
            mask.update(root)
        mask["$defs"] = self.definitions
        return mask

    def loose(self) -> Mask:
        """Notes that something is left to the check; as a mask, it allows everything."""
        self.exact = False
        return True

    def reference(self, place: Place, *, positive: bool) -> Mask:
        """A reference to the definition that `place` becomes, or its body if it is short."""
        key = (id(place.node), positive)
        name = self._names.get(key)
        if name is not None and name in self._unmoved:
            raise SchemaError("refers to itself without end", place.path)
        if name is None:
            name = self._names[key] = str(len(self._names))
            self.paths[name] = place.path
            self.definitions[name] = None
            if self._depth > _DEEP:
                self._later.append((name, place, positive))
            else:
                self.definitions[name] = self._build(name, place, positive)
        body = self.definitions[name]
        if isinstance(body, bool) or (body is not None and _short(body)):
            return body
        return {"$ref": f"#/$defs/{name}"}

    def _build(self, name: str, place: Place, positive: bool) -> Mask:
        before, self._unmoved = self._unmoved, (*self._unmoved, name)
        try:
            return self.part(place, positive=positive)
        finally:
            self._unmoved = before

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Steps from a value into a part of it: from here on, to come back is no longer endless."""
        before, self._unmoved = self._unmoved, ()
        try:
            yield
        finally:
            self._unmoved = before

    def below(self, place: Place, *way: str | int) -> Place:
        node = place.node
        for part in way:
            node = node[part]
        base = self.references.base_of(node, place.base)
        return Place(node, (*place.path, *way), base)

    def child(self, place: Place, *way: str | int, positive: bool = True) -> Mask:
        """The mask of a schema that applies to a part of the value."""
        with self.inside():
            return self.part(self.below(place, *way), positive=positive)

    def beside(self, place: Place, *way: str | int, positive: bool = True) -> Mask:
        """The mask of a schema that applies to the same value."""
        return self.part(self.below(place, *way), positive=positive)

    def part(self, place: Place, *, positive: bool) -> Mask:
        if isinstance(place.node, bool):
            return place.node is positive
        mask = self._parts.get((id(place.node), positive))
        if mask is None:
            mask = self._parts[id(place.node), positive] = self._part(place, positive)
        return mask

    def _part(self, place: Place, positive: bool) -> Mask:
        self._count += 1
        if self._count > self._limits.expanded:
            raise SchemaTooLarge("is too large once all its parts are followed", place.path)
        self._depth += 1
        try:
            if not isinstance(place.node, dict):
                raise SchemaError("a schema must be an object, true or false", place.path)
            return self._rules(self, place, positive)
        finally:
            self._depth -= 1


def _short(mask: dict[str, Any]) -> bool:
    return (
        len(mask) <= 3
        and not any(isinstance(v, dict) for v in mask.values())
        and not any(
            isinstance(v, list) and (len(v) > 8 or any(isinstance(i, dict) for i in v))
            for v in mask.values()
        )
    )
