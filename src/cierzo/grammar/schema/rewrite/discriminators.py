"""Many `if`/`then` in a row that ask for the same property: one case for each of its values.

Two ways through each of twenty conditions would be a million; the cases of a switch are twenty-two.
"""

from __future__ import annotations

from typing import Any

from cierzo.grammar.pattern import excluding
from cierzo.grammar.schema.dialect import keywords
from cierzo.grammar.schema.masks import Mask, all_of, any_of
from cierzo.grammar.schema.references import Place
from cierzo.grammar.schema.rewrite.rewriter import Rewriter

FEWEST = 2


def discriminated(
    rewriter: Rewriter, place: Place, conditions: list[Any]
) -> tuple[list[Mask], set[int]]:
    """The switches that some of `allOf`'s schemas make up, and which of them those are."""
    by_name: dict[str, list[tuple[int, list[str], bool]]] = {}
    for at, condition in enumerate(conditions):
        found = _case(condition, rewriter.draft)
        if found is not None:
            name, values, needed = found
            by_name.setdefault(name, []).append((at, values, needed))
    masks: list[Mask] = []
    taken: set[int] = set()
    for name, cases in by_name.items():
        if len(cases) < FEWEST:
            continue
        taken |= {at for at, _, _ in cases}
        then = {at: rewriter.beside(place, "allOf", at, "then") for at, _, _ in cases}
        values = list(dict.fromkeys(value for _, some, _ in cases for value in some))
        ways = [
            all_of(
                [
                    {"type": "object", "properties": {name: {"enum": [value]}}, "required": [name]},
                    *(then[at] for at, some, _ in cases if value in some),
                ]
            )
            for value in values
        ]
        other: list[Mask] = [
            {"type": "string", "pattern": excluding(values)},
            {"type": ["null", "boolean", "number", "array", "object"]},
        ]
        ways.append({"type": "object", "properties": {name: any_of(other)}, "required": [name]})
        absent = [then[at] for at, _, needed in cases if not needed]
        ways.append(all_of([{"properties": {name: False}}, *absent]))
        masks.append(any_of(ways))
    return masks, taken


def _case(condition: Any, draft: int) -> tuple[str, list[str], bool] | None:  # noqa: PLR0911
    """The property, the values it is asked for, and whether it must be there."""
    if not isinstance(condition, dict):
        return None
    words = keywords(condition, draft)
    test = words.get("if")
    if "then" not in words or not isinstance(test, dict):
        return None
    if set(words) - {"if", "then", "title", "description", "$comment"}:
        return None
    if set(test) - {"properties", "required", "type", "title", "description", "$comment"}:
        return None
    if test.get("type", "object") != "object" or len(test.get("properties", ())) != 1:
        return None
    name, asked = next(iter(test["properties"].items()))
    needed = test.get("required", [])
    if not isinstance(asked, dict) or (needed and needed != [name]):
        return None
    if (
        set(asked) - {"const", "enum", "type", "title", "description"}
        or len({"const", "enum"} & asked.keys()) != 1
    ):
        return None
    values = asked["enum"] if "enum" in asked else [asked["const"]]
    if (
        not all(isinstance(value, str) for value in values)
        or asked.get("type", "string") != "string"
    ):
        return None
    return name, values, bool(needed)
