"""Parts of a mask that no value fits, because each would have to hold another without end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cierzo.grammar.schema.masks import Mask


def finite_definitions(definitions: Mapping[str, Mask]) -> set[str]:
    """The names of the definitions that some finite value fits, as far as can be told."""
    finite = {name for name, body in definitions.items() if body is True}
    while True:
        more = {
            name for name, body in definitions.items() if name not in finite and fits(body, finite)
        }
        if not more:
            return finite
        finite |= more


def drop_infinite(mask: dict[str, Any]) -> bool:
    """Puts `false` for definitions that no finite value fits; says whether any fits the mask.

    llguidance refuses a mask that only refers to such a one, even where nothing needs it.
    """
    definitions: dict[str, Mask] = mask["$defs"]
    finite = finite_definitions(definitions)
    dead = {f"#/$defs/{name}" for name in definitions if name not in finite}
    if dead:
        mask["$defs"] = {name: body for name, body in definitions.items() if name in finite}
        _bury(mask, dead)
    return fits({key: value for key, value in mask.items() if key != "$defs"}, finite)


def _bury(mask: dict[str, Any], dead: set[str]) -> None:
    stack: list[Any] = [mask]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if id(node) in seen or not isinstance(node, dict | list):
            continue
        seen.add(id(node))
        for key, child in list(node.items() if isinstance(node, dict) else enumerate(node)):
            if key == "enum" and isinstance(child, list):
                continue
            if isinstance(child, dict) and set(child) == {"$ref"} and child["$ref"] in dead:
                node[key] = False
            else:
                stack.append(child)


def fits(mask: Mask, finite: set[str]) -> bool:  # noqa: PLR0911
    """Whether a value may fit, if some fits each of the definitions in `finite`."""
    if isinstance(mask, bool):
        return mask
    if "$ref" in mask and mask["$ref"].rpartition("/")[2] not in finite:
        return False
    if not all(fits(part, finite) for part in mask.get("allOf", ())):
        return False
    if "anyOf" in mask and not any(fits(part, finite) for part in mask["anyOf"]):
        return False
    types = mask.get("type", "any")
    if types == "object":
        return _object_fits(mask, finite)
    if types == "array":
        least = mask.get("minItems", 0)
        first = mask.get("prefixItems", [])
        if not all(fits(item, finite) for item in first[:least]):
            return False
        return least <= len(first) or fits(mask.get("items", True), finite)
    return True


def _object_fits(mask: dict[str, Any], finite: set[str]) -> bool:
    properties = mask.get("properties", {})
    others = mask.get("additionalProperties", True)
    for name in mask.get("required", ()):
        if name in properties:
            if not fits(properties[name], finite):
                return False
        elif not (mask.get("patternProperties") or fits(others, finite)):
            return False
    return True
