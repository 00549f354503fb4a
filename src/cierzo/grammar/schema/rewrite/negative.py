"""The opposite of a schema: one of its keywords does not hold."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from cierzo.grammar import formats
from cierzo.grammar.pattern import excluding, in_rust
from cierzo.grammar.schema.dialect import keywords
from cierzo.grammar.schema.masks import ALL_TYPES, Mask, all_of, any_of, type_of
from cierzo.grammar.schema.references import Place
from cierzo.grammar.schema.rewrite.arrays import layout, somewhere
from cierzo.grammar.schema.rewrite.rewriter import Rewriter
from cierzo.grammar.schema.rewrite.scalars import types_of


def negative(rewriter: Rewriter, place: Place) -> Mask:
    """The mask of the values that are not valid under the schema at `place`."""
    words = keywords(place.node, rewriter.draft)
    types = types_of(words)
    masks: list[Mask] = [_other_types(rewriter, types)] if "type" in words else []
    if "enum" in words:
        masks.append(_other_values(rewriter, words["enum"], types))
    if "const" in words:
        masks.append(_other_values(rewriter, [words["const"]], types))
    if "number" in types or "integer" in types:
        kind = "number" if "number" in types else "integer"
        masks += _numbers(rewriter, words, kind)
    if "string" in types:
        masks += _strings(rewriter, words)
    if "array" in types:
        masks += _arrays(rewriter, place, words)
    if "object" in types:
        masks += _objects(rewriter, place, words)
    masks += _combined(rewriter, place, words)
    return any_of(masks)


def _other_types(rewriter: Rewriter, types: list[str]) -> Mask:
    if "integer" in types:
        # Numbers that are not whole: a mask has no word for them, so it allows all numbers.
        rewriter.exact = False
    others = [name for name in ALL_TYPES if name not in types]
    return {"type": others} if others else False


def _other_values(rewriter: Rewriter, values: list[Any], types: list[str]) -> Mask:
    by_type: dict[str, list[Any]] = {}
    for value in values:
        by_type.setdefault(type_of(value), []).append(value)
    masks: list[Mask] = []
    free = [name for name in ALL_TYPES if name not in by_type]
    free = [name for name in free if name in types or (name == "number" and "integer" in types)]
    if free:
        masks.append({"type": free})
    for name, some in by_type.items():
        if name == "boolean":
            masks.append({"enum": [value for value in (True, False) if value not in some]})
        elif name == "string":
            masks.append({"type": "string", "pattern": excluding(some)})
        elif name == "number":
            masks.append(_between(rewriter, some))
        elif name != "null":
            rewriter.exact = False
            masks.append({"type": name})
    return any_of(mask for mask in masks if mask != {"enum": []})


def _between(rewriter: Rewriter, numbers: list[Any]) -> Mask:
    marks = sorted(set(numbers))
    if len(marks) > 20 or any(abs(number) > 1e15 for number in marks):
        rewriter.exact = False
        return {"type": "number"}
    # Beside any other there are texts that are read as the same float.
    rewriter.exact &= all(float(number).is_integer() for number in marks)
    edges: list[Any] = [None, *marks, None]
    masks: list[Mask] = []
    for low, high in pairwise(edges):
        part: dict[str, Any] = {"type": "number"}
        if low is not None:
            part["exclusiveMinimum"] = low
        if high is not None:
            part["exclusiveMaximum"] = high
        masks.append(part)
    return any_of(masks)


def _numbers(rewriter: Rewriter, words: dict[str, Any], kind: str) -> list[Mask]:
    masks: list[Mask] = []
    for key, opposite in (("minimum", "Maximum"), ("maximum", "Minimum")):
        beyond = words.get(f"exclusive{key.title()}")
        value = words.get(key)
        if value is not None:
            strict = {opposite.lower(): value}
            masks.append(
                {"type": kind, **(strict if beyond is True else {f"exclusive{opposite}": value})}
            )
        if beyond is not None and not isinstance(beyond, bool):
            masks.append({"type": kind, opposite.lower(): beyond})
    if "multipleOf" in words:
        rewriter.exact = False
        masks.append({"type": kind})
    return masks


def _strings(rewriter: Rewriter, words: dict[str, Any]) -> list[Mask]:
    masks: list[Mask] = []
    if words.get("minLength", 0) > 0:
        masks.append({"type": "string", "maxLength": int(words["minLength"]) - 1})
    if "maxLength" in words:
        masks.append({"type": "string", "minLength": int(words["maxLength"]) + 1})
    if "pattern" in words:
        rewriter.exact = False
        masks.append({"type": "string"})
    if words.get("format") in (*formats.PATTERNS, *formats.CHECKED):
        rewriter.exact = False
        masks.append({"type": "string"})
    return masks


def _arrays(rewriter: Rewriter, place: Place, words: dict[str, Any]) -> list[Mask]:
    masks: list[Mask] = []
    if words.get("minItems", 0) > 0:
        masks.append({"type": "array", "maxItems": int(words["minItems"]) - 1})
    if "maxItems" in words:
        masks.append({"type": "array", "minItems": int(words["maxItems"]) + 1})
    first, rest = layout(words, rewriter.draft)
    for at, way in enumerate(first):
        other = rewriter.child(place, *way, positive=False)
        if other is not False:
            masks.append(
                {"type": "array", "prefixItems": [*[True] * at, other], "minItems": at + 1}
            )
    if rest:
        other = rewriter.child(place, *rest, positive=False)
        if other is not False:
            skipped: list[Mask] = [True] * len(first)
            masks.append(all_of([{"type": "array"}, _later(rewriter, other, skipped)]))
    if "contains" in words:
        least, most = int(words.get("minContains", 1)), words.get("maxContains")
        if least == 1:
            masks.append(
                {"type": "array", "items": rewriter.child(place, "contains", positive=False)}
            )
        if least > 1 or most is not None:
            rewriter.exact = False
            masks.append({"type": "array"})
    if words.get("uniqueItems") is True:
        rewriter.exact = False
        masks.append({"type": "array", "minItems": 2})
    if "unevaluatedItems" in words:
        rewriter.exact = False
        masks.append({"type": "array", "minItems": 1})
    return masks


def _later(rewriter: Rewriter, item: Mask, skipped: list[Mask]) -> Mask:
    if not skipped:
        return somewhere(rewriter, item)
    rewriter.exact = False
    return {"prefixItems": [*skipped, item], "minItems": len(skipped) + 1}


def _objects(rewriter: Rewriter, place: Place, words: dict[str, Any]) -> list[Mask]:
    required = words.get("required")
    masks: list[Mask] = [
        {"type": "object", "properties": {name: False}}
        for name in dict.fromkeys(required if isinstance(required, list) else [])
    ]
    named = words.get("properties", {})
    for name in named:
        other = rewriter.child(place, "properties", name, positive=False)
        if other is not False:
            masks.append({"type": "object", "properties": {name: other}, "required": [name]})
    for text in words.get("patternProperties", {}):
        other = rewriter.child(place, "patternProperties", text, positive=False)
        if other is not False:
            names = in_rust(text)
            simple = rewriter.guess and names.exact and len(names.patterns) == 1
            only = {"patternProperties": {names.patterns[0]: other}} if simple else {}
            masks.append(_some_name(rewriter, {**only, "additionalProperties": not simple}))
    if "additionalProperties" in words:
        other = rewriter.child(place, "additionalProperties", positive=False)
        if other is not False:
            masks.append(
                _some_name(rewriter, {"additionalProperties": other if not named else True})
            )
    if int(words.get("minProperties", 0)) > 0:
        masks.append({"type": "object", "maxProperties": int(words["minProperties"]) - 1})
        rewriter.exact = False
    if "maxProperties" in words:
        masks.append({"type": "object", "minProperties": int(words["maxProperties"]) + 1})
        rewriter.exact = False
    if "propertyNames" in words or "unevaluatedProperties" in words:
        rewriter.exact = False
        masks.append({"type": "object", "minProperties": 1})
    return masks


def _some_name(rewriter: Rewriter, mask: dict[str, Any]) -> Mask:
    """The objects with a property that `mask` speaks of; guessing, with no others."""
    rewriter.exact = False
    if not rewriter.guess:
        return {"type": "object", "minProperties": 1}
    rewriter.guessed = True
    return {"type": "object", **mask, "minProperties": 1}


def _combined(rewriter: Rewriter, place: Place, words: dict[str, Any]) -> list[Mask]:
    masks: list[Mask] = []
    if "$ref" in words:
        target = rewriter.references.resolve(words["$ref"], place.base, (*place.path, "$ref"))
        masks.append(rewriter.reference(target, positive=False))
    if "$dynamicRef" in words or "$recursiveRef" in words:
        masks.append(rewriter.loose())
    parts = range(len(words.get("allOf", ())))
    masks += [rewriter.beside(place, "allOf", at, positive=False) for at in parts]
    if "anyOf" in words:
        count = len(words["anyOf"])
        masks.append(
            all_of(rewriter.beside(place, "anyOf", a, positive=False) for a in range(count))
        )
    if "oneOf" in words:
        masks.append(_none_or_two(rewriter, place, len(words["oneOf"])))
    if "not" in words:
        masks.append(rewriter.beside(place, "not"))
    if "if" in words:
        for key, positive in (("then", True), ("else", False)):
            if key in words:
                condition = rewriter.beside(place, "if", positive=positive)
                masks.append(all_of([condition, rewriter.beside(place, key, positive=False)]))
    return masks + _dependencies(rewriter, place, words)


def _dependencies(rewriter: Rewriter, place: Place, words: dict[str, Any]) -> list[Mask]:
    masks: list[Mask] = []
    for key in ("dependencies", "dependentRequired", "dependentSchemas"):
        for name, needed in words.get(key, {}).items():
            there: Mask = {"type": "object", "required": [name]}
            if isinstance(needed, list):
                missing = (all_of([there, {"properties": {other: False}}]) for other in needed)
                masks.append(any_of(missing))
            else:
                masks.append(all_of([there, rewriter.beside(place, key, name, positive=False)]))
    return masks


def _none_or_two(rewriter: Rewriter, place: Place, count: int) -> Mask:
    if count > 4:
        return rewriter.loose()
    none = all_of(rewriter.beside(place, "oneOf", at, positive=False) for at in range(count))
    masks = [rewriter.beside(place, "oneOf", at) for at in range(count)]
    pairs = [all_of([masks[i], masks[j]]) for i in range(count) for j in range(i)]
    return any_of([none, *pairs])
