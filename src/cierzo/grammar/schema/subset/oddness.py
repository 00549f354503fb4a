"""What of a mask llguidance cannot write as JSON does, in itself or in what it refers to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cierzo.grammar.pattern import is_odd as odd_pattern
from cierzo.grammar.schema.constants import odd
from cierzo.grammar.schema.intervals import odd_bounds
from cierzo.grammar.schema.masks import Mask, parts_of


class Oddness:
    """Knows which definitions are odd: it goes through them once."""

    def __init__(self, definitions: Mapping[str, Mask]) -> None:
        users: dict[str, list[str]] = {}  # the definitions that refer to one
        stack: list[str] = []
        for name, body in definitions.items():
            is_odd, used = _look(body)
            if is_odd:
                stack.append(name)
            for other in used:
                users.setdefault(other, []).append(name)
        self._names = set(stack)
        while stack:
            for user in users.get(stack.pop(), ()):
                if user not in self._names:
                    self._names.add(user)
                    stack.append(user)

    def has(self, mask: Mask) -> bool:
        """Whether a mask is odd. Its own definitions do not count unless it refers to them."""
        is_odd, used = _look(mask)
        return is_odd or not self._names.isdisjoint(used)


def _look(mask: Mask) -> tuple[bool, set[str]]:
    """Whether a mask is odd by itself, and the names that it refers to (not all, if it is)."""
    used: set[str] = set()
    stack: list[Mask] = [mask]
    while stack:
        part = stack.pop()
        if isinstance(part, bool):
            continue
        if "$ref" in part:
            used.add(part["$ref"].rpartition("/")[2])
        if _odd_itself(part):
            return True, used
        stack.extend(parts_of(part))
    return False, used


def _odd_itself(part: dict[str, Any]) -> bool:
    patterns = [*part.get("patternProperties", ()), part.get("pattern", "")]
    return (
        any(map(odd, part.get("enum", ()))) or odd_bounds(part) or any(map(odd_pattern, patterns))
    )
