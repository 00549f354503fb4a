"""Schemas made of schemas that apply to the same value: all, any, one, not, if, dependencies."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from cierzo.grammar.schema.masks import Mask, all_of, any_of
from cierzo.grammar.schema.references import Place
from cierzo.grammar.schema.rewrite.rewriter import Rewriter

MOST_WAYS = 64  # through all alternatives of one schema
MOST_APART = 8  # alternatives that are written as each without the others
MOST_NAMES = 1_500  # properties in all those ways: llguidance follows all at once


def combined(rewriter: Rewriter, place: Place, words: dict[str, Any]) -> list[Mask]:
    masks: list[Mask] = []
    if "$ref" in words:
        target = rewriter.references.resolve(words["$ref"], place.base, (*place.path, "$ref"))
        masks.append(rewriter.reference(target, positive=True))
    for key in ("$dynamicRef", "$recursiveRef"):
        if key not in words:
            continue
        masks.append(_dynamic(rewriter, place, words[key], key))
    masks += [rewriter.beside(place, "allOf", at) for at in range(len(words.get("allOf", ())))]
    if "anyOf" in words:
        masks.append(
            any_of(rewriter.beside(place, "anyOf", at) for at in range(len(words["anyOf"])))
        )
    if "oneOf" in words:
        masks.append(_one_of(rewriter, place, len(words["oneOf"])))
    if "not" in words:
        masks.append(_light(rewriter, rewriter.beside(place, "not", positive=False)))
    if "if" in words and ("then" in words or "else" in words):
        masks.append(_conditional(rewriter, place, words))
    masks += _dependencies(rewriter, place, words)
    return _bounded(rewriter, masks, len(words.get("properties", ())))


def _light(rewriter: Rewriter, mask: Mask) -> Mask:
    """Leaves what is negated to the check where it would be very much to multiply with."""
    return rewriter.loose() if rewriter.known.heavy(mask) else mask


def _bounded(rewriter: Rewriter, masks: list[Mask], size: int) -> list[Mask]:
    """Leaves alternatives to the check where multiplying them out would be too much."""
    known = rewriter.known
    ways, kept = 1, set()
    for mask in sorted(masks, key=known.ways):
        more, names = ways * known.ways(mask), size + known.names(mask)
        most = rewriter.most_ways * (1 if names else 4)
        if more > ways > 1 and (more > most or more * names > MOST_NAMES):
            rewriter.exact = False
            continue
        ways, size = more, names
        kept.add(id(mask))
    return [mask for mask in masks if id(mask) in kept]


def _dynamic(rewriter: Rewriter, place: Place, reference: str, key: str) -> Mask:
    """Follows a dynamic reference where it can only mean one schema."""
    name = "#" if key == "$recursiveRef" else reference.rpartition("#")[2]
    if rewriter.references.dynamic.get(name, 0) > 1:
        return rewriter.loose()
    target = rewriter.references.resolve(reference, place.base, (*place.path, key))
    return rewriter.reference(target, positive=True)


def _one_of(rewriter: Rewriter, place: Place, count: int) -> Mask:
    """Any of them where they exclude each other; else each without the others, if that is small."""
    options = [rewriter.beside(place, "oneOf", at) for at in range(count)]
    types = rewriter.known.types({"type": place.node["type"]} if "type" in place.node else True)
    disjoint = rewriter.known.disjoint
    clashes: list[list[int]] = [[] for _ in options]
    for i, j in combinations(range(count), 2):
        if not disjoint(options[i], options[j], 0, types):
            clashes[i].append(j)
            clashes[j].append(i)
            if count > MOST_APART:
                break
    if not any(clashes):
        return any_of(options)
    exact, rewriter.exact = rewriter.exact, True
    if count <= MOST_APART:
        negatives = {
            j: rewriter.beside(place, "oneOf", j, positive=False) for js in clashes for j in js
        }
        if any(map(rewriter.known.heavy, negatives.values())):
            rewriter.exact = False
            return any_of(options)
        apart = [
            all_of([option, *(negatives[j] for j in clashes[i])])
            for i, option in enumerate(options)
        ]
        ways = sum(map(rewriter.known.ways, apart))
        names = max(map(rewriter.known.names, apart)) + len(place.node.get("properties", ()))
        if ways <= rewriter.most_ways and ways * names <= MOST_NAMES:
            rewriter.exact &= exact
            return any_of(apart)
    rewriter.exact = False
    return any_of(options)


def _conditional(rewriter: Rewriter, place: Place, words: dict[str, Any]) -> Mask:
    condition = rewriter.beside(place, "if")
    otherwise = _light(rewriter, rewriter.beside(place, "if", positive=False))
    then = rewriter.beside(place, "then") if "then" in words else True
    other = rewriter.beside(place, "else") if "else" in words else True
    return any_of([all_of([condition, then]), all_of([otherwise, other])])


def _dependencies(rewriter: Rewriter, place: Place, words: dict[str, Any]) -> list[Mask]:
    listed = words.get("required")
    required = listed if isinstance(listed, list) else []
    masks: list[Mask] = []
    for key in ("dependencies", "dependentRequired", "dependentSchemas"):
        for name, needed in words.get(key, {}).items():
            then: Mask
            if isinstance(needed, list):
                then = {"required": list(dict.fromkeys([name, *needed]))} if needed else True
            else:
                then = all_of([{"required": [name]}, rewriter.beside(place, key, name)])
            if words.get("type") == "object" and name in required:
                masks.append(then)
            elif then not in (True, {"required": [name]}):
                masks.append(any_of([{"properties": {name: False}}, all_of([then])]))
    return masks
