"""Changes to a mask, in place, that let llguidance compile it, and why it cannot if it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cierzo.grammar.pattern import is_odd, quoted
from cierzo.grammar.schema.constants import odd, odd_number
from cierzo.grammar.schema.errors import SchemaError
from cierzo.grammar.schema.intervals import BOUNDS
from cierzo.grammar.schema.masks import inner, parts_of, type_of, values_of
from cierzo.grammar.schema.subset.inlining import CONTRADICTION, refusal
from cierzo.grammar.schema.subset.outline import Outline, outlined

MANY_WORDS, MOST_WORDS = 8, 500  # in a list of strings that becomes a pattern
MOST_SPREAD = 3_000  # parts that are written again in place of references


@dataclass(frozen=True)
class Written:
    """A mask's grammar, and what is wrong with it: None if it can be compiled.

    Without grammar, the mask cannot be written; or no value fits it, which is `CONTRADICTION`.
    """

    outline: Outline | None
    problem: str | None

    @property
    def is_writable(self) -> bool:
        return self.outline is not None or self.problem == CONTRADICTION


def written(mask: dict[str, Any]) -> Written:
    """Writes a mask's grammar, and tries to compile it."""
    try:
        outline = outlined(mask)
    except SchemaError as error:
        return Written(None, str(error))
    if outline is None:
        return Written(None, CONTRADICTION)
    return Written(outline, refusal(outline.expression))


def loosen(mask: dict[str, Any]) -> None:
    """Leaves out, in place, what llguidance cannot write and what is too much to write out."""
    for part in _parts(mask):
        for key in BOUNDS:
            if key in part and odd_number(part[key]):
                del part[key]
        if any(map(odd, part.get("enum", ()))):
            part["type"] = sorted(set(map(type_of, part.pop("enum"))))
        if is_odd(part.get("pattern", "")):
            del part["pattern"]
        if any(map(is_odd, part.get("patternProperties", ()))):
            del part["patternProperties"]
            part.pop("additionalProperties", None)


def drop_unused(mask: dict[str, Any]) -> None:
    """Leaves out definitions that nothing refers to."""
    used: set[str] = set()
    stack: list[Any] = [{key: value for key, value in mask.items() if key != "$defs"}]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, dict):
            name = node.get("$ref")
            if isinstance(name, str) and name not in used:
                used.add(name)
                stack.append(mask["$defs"][name.rpartition("/")[2]])
            stack.extend(inner(node))
    kept = {f"#/$defs/{name}" for name in mask["$defs"]} & used
    mask["$defs"] = {
        name: body for name, body in mask["$defs"].items() if f"#/$defs/{name}" in kept
    }


def join_words(mask: dict[str, Any]) -> None:
    """Makes long lists of strings one pattern, where they meet others.

    llguidance would try each of one list with each of the other.
    """
    for part in _parts(mask):
        if "allOf" not in part:
            continue
        stack: list[Any] = [part["allOf"], part.get("properties")]
        while stack:
            node = stack.pop()
            if isinstance(node, list):
                stack.extend(node)
            elif isinstance(node, dict):
                words = node.get("enum")
                if isinstance(words, list) and MANY_WORDS < len(words) <= MOST_WORDS:
                    if all(isinstance(word, str) and not odd(word) for word in words):
                        del node["enum"]
                        node["type"] = "string"
                        node["pattern"] = f"^(?:{'|'.join(map(quoted, words))})$"
                else:
                    stack.extend(inner(node))


def spread(mask: dict[str, Any]) -> None:
    """Puts bodies in place of references that stand beside something else.

    llguidance follows such references at once, and may find itself in the middle of the same one.
    So whatever has one becomes a definition of its own first, which others can refer to.
    """
    definitions = mask["$defs"]
    for part in list(_parts(mask)):
        for child in values_of(part):
            if isinstance(child, dict) and "allOf" in child:
                name = f"s{len(definitions)}"
                definitions[name] = dict(child)
                child.clear()
                child["$ref"] = f"#/$defs/{name}"
    left = [MOST_SPREAD]

    def body(part: Any) -> Any:
        left[0] -= 1
        if not isinstance(part, dict) or left[0] < 0:
            return part
        if set(part) == {"$ref"}:
            return body(definitions[part["$ref"].rpartition("/")[2]])
        lists = {key: list(map(body, part[key])) for key in ("allOf", "anyOf") if key in part}
        return {**part, **lists}

    bodies = {
        name: body(part) if isinstance(part, dict) and "allOf" in part else part
        for name, part in definitions.items()
    }
    definitions.update(bodies)


def _parts(mask: Any) -> Iterator[dict[str, Any]]:
    """Yields all schemas in a mask (not the maps of names to schemas)."""
    stack = [mask]
    seen = set()
    while stack:
        node = stack.pop()
        if not isinstance(node, dict) or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        stack.extend(parts_of(node))
        stack.extend(node.get("$defs", {}).values())
