"""Masks with constants, bounds or patterns that llguidance cannot write, as grammars in Lark.

What lies around such a value (objects, arrays, alternatives) becomes rules, the value itself is
written out, and all the rest stays masks, which llguidance compiles as ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cierzo.grammar.pattern import ANY_CHARACTER, excluding, in_json, parse
from cierzo.grammar.schema import intervals
from cierzo.grammar.schema.constants import spelled
from cierzo.grammar.schema.errors import SchemaError
from cierzo.grammar.schema.masks import Mask, inner
from cierzo.grammar.schema.subset.inlining import inlined, is_empty, refusal, unsatisfiable
from cierzo.grammar.schema.subset.oddness import Oddness
from cierzo.grammar.schema.subset.ways import Way, Ways

MOST_RULES = 8_000
MOST_AT_ONCE = 8  # patterns that a string must match: with each, llguidance does twice as much
MOST_TEXT = 500_000  # characters of the masks in a grammar
LARGE = 50_000  # characters of one
_TOO_MANY = "has too many parts around its constants, bounds and patterns"


# A mask is written several times, and the same leaves with it.
_refusal = lru_cache(maxsize=256)(refusal)


@dataclass(frozen=True)
class Outline:
    """A grammar for the values that fit a mask. `exact`: for no others."""

    expression: str
    exact: bool = True


def outlined(mask: dict[str, Any]) -> Outline | None:
    """The grammar for a mask, as it stands behind a rule's name; None where no value fits.

    Raises SchemaError for a mask that cannot be written.
    """
    definitions = mask.get("$defs", {})
    odd = Oddness(definitions)
    if not odd.has(mask):
        return Outline(inlined(mask))
    writer = _Writer(definitions, odd)
    try:
        start = writer.rule({key: part for key, part in mask.items() if key != "$defs"})
    except RecursionError:
        raise SchemaError(_TOO_MANY) from None
    if start is None:
        return None
    lines = [f"start: {start}", *(f"{name}: {body}" for name, body in writer.rules.items())]
    text = "\n".join(lines)
    return Outline(f"%lark {{\n{text}\n}}", writer.exact)


class _Writer:
    """Writes one mask. A rule is None where nothing fits."""

    def __init__(self, definitions: Mapping[str, Mask], odd: Oddness) -> None:
        self._definitions = definitions
        self._ways = Ways(definitions)
        self._odd = odd
        self._named: dict[str, str | None] = {}  # by mask
        self._count = 0
        self._text = 0
        self.rules: dict[str, str] = {}
        self._exact = True

    @property
    def exact(self) -> bool:
        return self._exact and self._ways.exact

    def rule(self, mask: Mask) -> str | None:
        """The name of the rule for a mask."""
        key = json.dumps(mask)
        if key in self._named:
            return self._named[key]
        name = self._named[key] = self._new()
        if self._odd.has(mask):
            bodies = [self._way(way) for way in self._ways.through(mask)]
        else:
            bodies = [self._leaf(mask)]
        found = [body for body in bodies if body is not None]
        if not found:
            del self.rules[name]
            self._named[key] = None
            return None
        self.rules[name] = "\n    | ".join(found)
        return name

    def _new(self, letter: str = "r") -> str:
        self._count += 1
        if self._count > MOST_RULES:
            raise SchemaError(_TOO_MANY)
        name = f"{letter}{self._count}"
        self.rules[name] = ""
        return name

    def _leaf(self, mask: Mask) -> str | None:
        """What llguidance can write, unless nothing fits."""
        if isinstance(mask, bool):
            return inlined({}) if mask else None
        used = {name: self._definitions[name] for name in self._used(mask)}
        expression = inlined({**mask, "$defs": used} if used else mask)
        self._text += len(expression)
        if self._text > MOST_TEXT:
            raise SchemaError(_TOO_MANY)
        message = (refusal if len(expression) > LARGE else _refusal)(expression)
        return None if message is not None and unsatisfiable(message) else expression

    def _used(self, mask: Mask) -> set[str]:
        used: set[str] = set()
        stack: list[Any] = [mask]
        while stack:
            part = stack.pop()
            if isinstance(part, list):
                stack.extend(part)
            elif isinstance(part, dict):
                name = part.get("$ref")
                if isinstance(name, str) and (name := name.rpartition("/")[2]) not in used:
                    used.add(name)
                    stack.append(self._definitions[name])
                stack.extend(inner(part))
        return used

    def _way(self, way: Way) -> str | None:
        if not self._odd.has(way):
            return self._leaf(way)
        if "enum" in way:
            return self._terminal(map(spelled, way["enum"]), ())
        if way["type"] == "object":
            return self._object(way)
        if way["type"] == "array":
            return self._array(way)
        return self._string(way) if way["type"] == "string" else self._numbers(way)

    def _terminal(self, texts: Iterable[str], expressions: Iterable[str]) -> str:
        """The name of a terminal, which is matched at once, for texts and regular expressions."""
        name = self._new("T")
        options = [*map(json.dumps, texts), *(f"/{text}/" for text in expressions)]
        self.rules[name] = " | ".join(options)
        return name

    def _string(self, way: Way) -> str | None:
        """The name of a terminal for strings of which several things may be said at once."""
        found: list[str] = []
        stack = [way]
        while stack:
            part = stack.pop()
            stack.extend(part.get("allOf", ()))
            if "pattern" in part:
                found.append(in_json(parse(part["pattern"])))
            if {"minLength", "maxLength"} & part.keys():
                size = f"{{{part.get('minLength', 0)},{part.get('maxLength', '')}}}"
                found.append(f"{in_json(ANY_CHARACTER)}{size}")
        self._exact &= len(found) <= MOST_AT_ONCE
        del found[MOST_AT_ONCE:]
        body = " & ".join(f'/"(?:{text})"/' for text in found)
        if is_empty(body):
            return None
        name = self._new("T")
        self.rules[name] = body
        return name

    def _numbers(self, way: Way) -> str | None:
        self._exact &= not {"multipleOf", "allOf"} & way.keys()
        interval = intervals.interval_of(way)
        if way["type"] == "integer":
            found = intervals.Numbers([], intervals.whole_numbers(interval), [])
        else:
            found = intervals.all_numbers(interval)
        parts = [self._leaf(mask) for mask in found.masks]
        if found.texts or found.expressions:
            parts.append(self._terminal(found.texts, found.expressions))
        return " | ".join(part for part in parts if part is not None) or None

    def _array(self, way: Way) -> str | None:
        least, most = way.get("minItems", 0), way.get("maxItems")
        first = way.get("prefixItems", [])
        items = [self.rule(item) for item in first[: most if most is not None else len(first)]]
        rest = self.rule(way.get("items", True)) if most is None or most > len(first) else None
        if None in items:
            items, rest = items[: items.index(None)], None
        if least > len(items) and rest is None:
            return None
        # From the end to the beginning: what may follow the item before.
        low = max(least - len(items), 0)
        high = "" if most is None else str(most - len(items))
        tail = "" if rest is None else f'(", " {rest}){{{low},{high}}}'
        for at in range(len(items) - 1, 0, -1):
            tail = f'(", " {items[at]} {tail})' + ("?" if at >= least else "")
        if items:
            body = f"{items[0]} {tail}"
        elif rest is not None:
            fewer = "" if most is None else str(most - 1)
            body = f'{rest} (", " {rest}){{{max(low - 1, 0)},{fewer}}}'
        else:
            return '"[]"'
        return f'"[" ({body})? "]"' if least == 0 else f'"[" {body} "]"'

    def _object(self, way: Way) -> str | None:
        properties, required = way.get("properties", {}), way.get("required", [])
        patterns, others = way.get("patternProperties", {}), way.get("additionalProperties", True)
        members: list[tuple[str, bool]] = []
        for name in dict.fromkeys([*properties, *required]):
            needed = name in required
            value = self.rule(self._ways.property(way, name))
            if value is not None:
                members.append((f'{json.dumps(spelled(name))} ": " {value}', needed))
            elif needed:
                return None
        least = max(way.get("minProperties", 0) - len(required), 0)
        most = way.get("maxProperties")
        if most is not None and (most := most - len(required)) < 0:
            return None
        if len(members) > len(required) and (least or most is not None):
            self._exact = False
            least, most = 0, None
        more = self._more([*properties, *required], patterns, others)
        if more and most != 0:
            fewer = "" if most is None else str(most - 1)
            members.append((f'{more} (", " {more}){{{max(least - 1, 0)},{fewer}}}', least > 0))
        elif least:
            return None
        return f'"{{" {self._members(members)} "}}"'

    def _members(self, members: Sequence[tuple[str, bool]]) -> str:
        """Members in their order, with a comma between any two that are there."""
        behind = alone = '""'  # what may follow a member, and what there may be without one
        for body, needed in reversed(members):
            rule, tail, whole = self._new(), self._new(), self._new()
            self.rules[rule] = body
            self.rules[whole] = f"{rule} {behind}" + ("" if needed else f" | {alone}")
            self.rules[tail] = f'(", " {rule})' + ("" if needed else "?") + f" {behind}"
            behind, alone = tail, whole
        return alone

    def _more(self, taken: list[str], patterns: Mapping[str, Mask], others: Mask) -> str | None:
        """A rule for one member whose name is none of those that are taken."""
        free = {"type": "string", **({"pattern": excluding(taken)} if taken else {})}
        found = []
        for pattern, mask in patterns.items():
            name = self.rule({**free, "allOf": [{"type": "string", "pattern": pattern}]})
            found.append((name, self.rule(mask)))
        if others is not False:
            # What else a name means that a pattern matches is for the check.
            self._exact &= not patterns
            found.append((self.rule(free), self.rule(others)))
        bodies = [f'{name} ": " {value}' for name, value in found if name and value]
        if not bodies:
            return None
        rule = self._new()
        self.rules[rule] = "\n    | ".join(bodies)
        return rule
