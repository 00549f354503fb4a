"""What a schema becomes: the mask of what is valid under it, put together from its keywords."""

from __future__ import annotations

from typing import Any

from cierzo.grammar.schema.dialect import keywords
from cierzo.grammar.schema.masks import Mask, all_of
from cierzo.grammar.schema.references import Place
from cierzo.grammar.schema.rewrite.arrays import arrays
from cierzo.grammar.schema.rewrite.combined import combined
from cierzo.grammar.schema.rewrite.negative import negative
from cierzo.grammar.schema.rewrite.objects import objects
from cierzo.grammar.schema.rewrite.rewriter import Rewriter
from cierzo.grammar.schema.rewrite.scalars import numbers, strings, types_of, values


def rules(rewriter: Rewriter, place: Place, positive: bool) -> Mask:
    """For `Rewriter`: the mask of what is valid, or is not, under the schema at `place`."""
    return _positive(rewriter, place) if positive else negative(rewriter, place)


def _positive(rewriter: Rewriter, place: Place) -> Mask:
    words = keywords(place.node, rewriter.draft)
    if "enum" in words or "const" in words:
        return values(rewriter, place, words)
    types = types_of(words)
    out: dict[str, Any] = {}
    if "type" in words:
        out["type"] = types[0] if len(types) == 1 else types
    also: list[Mask] = []
    if "number" in types or "integer" in types:
        numbers(rewriter, words, out)
    if "string" in types:
        also += strings(rewriter, place, words, out)
    if "array" in types:
        also += arrays(rewriter, place, words, out)
    if "object" in types:
        also += objects(rewriter, place, words, out)
    also += combined(rewriter, place, words)
    if len(out) == ("type" in out) and "type" in out and len(also) == 1:
        return all_of([out, *also])
    rest = all_of(also)
    if rest is True:
        return out or True
    if rest is False:
        return False
    if not out:
        return rest
    assert isinstance(rest, dict)
    return {**out, "allOf": rest["allOf"] if set(rest) == {"allOf"} else [rest]}
