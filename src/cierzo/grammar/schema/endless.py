"""Parts of a mask that no value fits, because each would have to hold another without end."""

from __future__ import annotations

from typing import Any

from cierzo.grammar.schema.masks import Mask


def drop_endless(mask: dict[str, Any]) -> bool:
    """Make definitions that no finite value fits `false`; say whether any fits the whole mask."""
    definitions: dict[str, Mask] = mask["$defs"]
    finite = {name for name, body in definitions.items() if body is True}
    while True:
        more = {
            name for name, body in definitions.items() if name not in finite and _fits(body, finite)
        }
        if not more:
            break
        finite |= more
    for name in definitions:
        if name not in finite:
            definitions[name] = False
    return _fits({key: value for key, value in mask.items() if key != "$defs"}, finite)


def _fits(mask: Mask, finite: set[str]) -> bool:  # noqa: PLR0911
    if isinstance(mask, bool):
        return mask
    if "$ref" in mask and mask["$ref"].rpartition("/")[2] not in finite:
        return False
    if not all(_fits(part, finite) for part in mask.get("allOf", ())):
        return False
    if "anyOf" in mask and not any(_fits(part, finite) for part in mask["anyOf"]):
        return False
    types = mask.get("type", "any")
    if types == "object":
        return _object_fits(mask, finite)
    if types == "array":
        least = mask.get("minItems", 0)
        first = mask.get("prefixItems", [])
        if not all(_fits(item, finite) for item in first[:least]):
            return False
        return least <= len(first) or _fits(mask.get("items", True), finite)
    return True


def _object_fits(mask: dict[str, Any], finite: set[str]) -> bool:
    properties = mask.get("properties", {})
    others = mask.get("additionalProperties", True)
    for name in mask.get("required", ()):
        if name in properties:
            if not _fits(properties[name], finite):
                return False
        elif not (mask.get("patternProperties") or _fits(others, finite)):
            return False
    return True
