"""Arrays: items, how many, and that there must be one of a kind, or no two alike."""

from __future__ import annotations

from typing import Any

from cierzo.grammar.schema.masks import Mask, any_of
from cierzo.grammar.schema.references import Place
from cierzo.grammar.schema.rewrite.rewriter import Rewriter

MOST_ITEMS = 2_000  # more than that many items are not counted by the mask
PLACES = 4  # where one of a kind is looked for

_APPLICATORS = (
    "$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "not", "if", "then", "else",
    "dependentSchemas", "dependencies",
)  # fmt: skip


def arrays(
    rewriter: Rewriter, place: Place, words: dict[str, Any], out: dict[str, Any]
) -> list[Mask]:
    first, rest = layout(words, rewriter.draft)
    if first:
        out["prefixItems"] = [rewriter.child(place, *way) for way in first]
    if rest:
        out["items"] = rewriter.child(place, *rest)
    elif "unevaluatedItems" in words:
        if any(key in words for key in (*_APPLICATORS, "contains")):
            rewriter.loose()
        else:
            out["items"] = rewriter.child(place, "unevaluatedItems")
    for key in ("minItems", "maxItems"):
        if key in words:
            if words[key] > MOST_ITEMS:
                rewriter.loose()
            else:
                out[key] = int(words[key])
    if words.get("uniqueItems") is True:
        _unique(rewriter, out)
    if "contains" in words:
        return _contains(rewriter, place, words)
    return []


def layout(
    words: dict[str, Any], draft: int
) -> tuple[list[tuple[Any, ...]], tuple[Any, ...] | None]:
    """The ways to the schemas of the first items, and to that of the others."""
    if isinstance(words.get("items"), list):
        first = [("items", at) for at in range(len(words["items"]))]
        return first, ("additionalItems",) if "additionalItems" in words else None
    first = [("prefixItems", at) for at in range(len(words.get("prefixItems", ())))]
    return first, ("items",) if "items" in words else None


def _unique(rewriter: Rewriter, out: dict[str, Any]) -> None:
    """Bounds the length by how many different items there are; the rest is for the check."""
    items = rewriter.known.body(out.get("items", True))
    kinds = kinds_of(items)
    if kinds is not None and kinds <= MOST_ITEMS:
        most = len(out.get("prefixItems", ())) + kinds
        out["maxItems"] = min(out.get("maxItems", most), most)
    if out.get("maxItems", 2) > 1:
        rewriter.loose()


def kinds_of(mask: Mask) -> int | None:
    """How many different values fit; None: very many."""
    if isinstance(mask, bool):
        return None if mask else 0
    if "enum" in mask:
        return len(mask["enum"])
    if mask.get("type") in ("boolean", "null"):
        return 2 if mask["type"] == "boolean" else 1
    if mask.get("type") == "integer" and {"minimum", "maximum"} <= mask.keys():
        return max(int(mask["maximum"]) - int(mask["minimum"]) + 1, 0)
    return None


def _contains(rewriter: Rewriter, place: Place, words: dict[str, Any]) -> list[Mask]:
    least = int(words.get("minContains", 1))
    rewriter.exact = False
    if least == 0:
        return []
    with_one = rewriter.child(place, "contains")
    if with_one is True:
        return [{"minItems": least}]
    return [somewhere(rewriter, with_one, least)]


def somewhere(rewriter: Rewriter, item: Mask, least: int = 1) -> Mask:
    """The arrays (and whatever is not an array) with an item that fits, in one of a few places."""
    rewriter.exact = False
    if not rewriter.guess or least > 50:
        return {"minItems": least}
    rewriter.guessed = True
    return any_of(
        {"prefixItems": [True] * before + [item] * least, "minItems": before + least}
        for before in range(PLACES)
    )
