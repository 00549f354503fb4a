"""Objects: properties, those that no name is given for, names themselves, and how many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from llguidance import LLMatcher

from cierzo.grammar.pattern import (
    MatchError,
    PatternError,
    found,
    in_rust,
    is_clear,
    is_odd,
    matches,
    parse,
    quoted,
)
from cierzo.grammar.schema.errors import SchemaError
from cierzo.grammar.schema.masks import Mask, all_of, any_of
from cierzo.grammar.schema.references import Place
from cierzo.grammar.schema.rewrite.arrays import _APPLICATORS
from cierzo.grammar.schema.rewrite.rewriter import Rewriter

MOST_PATTERNS = 24  # for names, in one object


@dataclass
class _Shape:
    """What is allowed under which names."""

    properties: dict[str, Mask]
    needed: list[str]
    patterns: dict[str, Mask] = field(default_factory=dict)
    others: Mask = True


def objects(
    rewriter: Rewriter, place: Place, words: dict[str, Any], out: dict[str, Any]
) -> list[Mask]:
    required = words.get("required")
    shape = _Shape(
        {name: rewriter.child(place, "properties", name) for name in words.get("properties", {})},
        list(dict.fromkeys(required)) if isinstance(required, list) else [],
    )
    if "additionalProperties" in words:
        shape.others = rewriter.child(place, "additionalProperties")
    elif "unevaluatedProperties" in words:
        shape.others = _unevaluated(rewriter, place, words, shape.properties)
    for text in words.get("patternProperties", {}):
        _pattern(rewriter, place, text, shape)
    if shape.others is not False and not all(map(is_clear, words.get("patternProperties", ()))):
        rewriter.exact = False  # a name that some engines match is among the others for some
    if "propertyNames" in words:
        _names(rewriter, place, shape)
    if shape.properties:
        out["properties"] = shape.properties
    if shape.needed:
        out["required"] = shape.needed
    if shape.patterns:
        out["patternProperties"] = shape.patterns
    if shape.others is not True:
        out["additionalProperties"] = shape.others
    return _count(rewriter, words, out)


def _pattern(rewriter: Rewriter, place: Place, text: str, shape: _Shape) -> None:
    """Adds the names that match `text`; where that cannot be said, allows it under other names."""
    body = rewriter.child(place, "patternProperties", text)
    path = (*place.path, "patternProperties", text)
    try:
        result = in_rust(text)
        node = parse(text)
        for name, its_body in shape.properties.items():
            if found(node, name, rewriter.work):
                shape.properties[name] = all_of([its_body, body])
    except (PatternError, MatchError) as error:
        raise SchemaError(f"cannot be used: {error}", path) from None
    spelled = result.patterns[0] if result.patterns else "(?s:.*)"
    if result.exact and len(result.patterns) <= 1:
        for other, its_body in shape.patterns.items():
            if its_body == body:
                del shape.patterns[other]
                shape.patterns[f"^(?:{_inside(other)}|{_inside(spelled)})$"] = body
                return
        if len(shape.patterns) < MOST_PATTERNS and _apart([*shape.patterns, spelled]):
            shape.patterns[spelled] = body
            return
    rewriter.exact = False
    shape.others = any_of([shape.others, body])


def _inside(spelled: str) -> str:
    return (
        spelled.removeprefix("^(?:").removesuffix(")$") if spelled.startswith("^(?:") else spelled
    )


def _apart(patterns: list[str]) -> bool:
    """Whether no name matches two of the patterns."""
    if len(patterns) > 1 and any(map(is_odd, patterns)):
        return False  # llguidance would read another pattern
    mask = {"type": "object", "patternProperties": dict.fromkeys(patterns, True)}
    failed, _ = LLMatcher.validate_grammar_with_warnings(LLMatcher.grammar_from_json_schema(mask))
    return not failed


def _names(rewriter: Rewriter, place: Place, shape: _Shape) -> None:
    """Holds the names to their schema, where it is one pattern or a list."""
    below = rewriter.below(place, "propertyNames")
    names = rewriter.known.body(rewriter.child(place, "propertyNames"))
    for name in (*shape.properties, *shape.needed):
        if not rewriter.valid(below.node, name):
            shape.properties[name] = False
    if names is True:
        return
    if names is False:
        shape.patterns.clear()
        shape.others = False
        return
    pattern = names_pattern(names)
    if shape.patterns or ("enum" not in names and pattern is None):
        rewriter.exact = False
    elif "enum" in names:
        for name in names["enum"]:
            if isinstance(name, str):
                shape.properties.setdefault(name, shape.others)
        shape.others = False
    else:
        assert pattern is not None
        if shape.others is not False:
            shape.patterns[pattern] = shape.others
        shape.others = False


def names_pattern(names: dict[str, Any]) -> str | None:
    """The one pattern that says what names are allowed; None if it takes more."""
    if names.get("type", "string") != "string" and "string" not in names["type"]:
        return None
    said = set(names) - {"type"}
    if said == {"pattern"}:
        return str(names["pattern"])
    if said == {"enum"}:
        return f"^(?:{'|'.join(quoted(n) for n in names['enum'] if isinstance(n, str))})$"
    if said and said <= {"minLength", "maxLength"}:
        return f"^(?s:.{{{names.get('minLength', 0)},{names.get('maxLength', '')}}})$"
    return None


def _unevaluated(
    rewriter: Rewriter, place: Place, words: dict[str, Any], properties: dict[str, Mask]
) -> Mask:
    """Allows what the neighbours evaluate, where it is known by name."""
    if not any(key in words for key in _APPLICATORS):
        return rewriter.child(place, "unevaluatedProperties")
    names: set[str] = set()
    rewriter.exact = False
    if words["unevaluatedProperties"] is not False or not _collect(rewriter, place, names, 0):
        return True
    for name in sorted(names):
        properties.setdefault(name, True)
    return False


def _collect(rewriter: Rewriter, place: Place, names: set[str], depth: int) -> bool:
    """Collects the names that a schema and its neighbours evaluate; False if not all are known."""
    node = place.node
    if not isinstance(node, dict):
        return node is False or depth > 0
    if depth > 6 or "patternProperties" in node or "$dynamicRef" in node:
        return False
    if depth and ("additionalProperties" in node or "unevaluatedProperties" in node):
        return False
    names.update(node.get("properties", {}))
    below: list[Place] = []
    for key in ("allOf", "anyOf", "oneOf"):
        below += [rewriter.below(place, key, at) for at in range(len(node.get(key, ())))]
    below += [rewriter.below(place, key) for key in ("if", "then", "else", "not") if key in node]
    below += [
        rewriter.below(place, "dependentSchemas", n) for n in node.get("dependentSchemas", {})
    ]
    if "$ref" in node:
        below.append(rewriter.references.resolve(node["$ref"], place.base, place.path))
    return all(_collect(rewriter, child, names, depth + 1) for child in below)


def _count(rewriter: Rewriter, words: dict[str, Any], out: dict[str, Any]) -> list[Mask]:  # noqa: PLR0911
    """Bounds the number of properties, as far as masks can count."""
    least = int(words.get("minProperties", 0))
    most = int(words["maxProperties"]) if "maxProperties" in words else None
    needed = out.get("required", [])
    if most is not None and max(len(needed), least) > most:
        return [_no_object(out)]
    properties = {
        name: body for name, body in out.get("properties", {}).items() if body is not False
    }
    optional = [name for name in properties if name not in needed]
    open_ended = bool(out.get("patternProperties")) or out.get("additionalProperties") is not False
    if not open_ended:
        if least > len(properties):
            return [_no_object(out)]
        if most is not None and most >= len(properties):
            most = None
    least = 0 if least <= len(needed) else least
    if least == 0 and most is None:
        return []
    if least > 1 or (most is not None and most > len(needed)):
        rewriter.exact = False  # a name that stands twice would count twice
    if most is not None and most == len(needed):
        # Nothing beyond what is required: no other name at all.
        named = {
            name: _under(out, name) if name in needed else False for name in (*properties, *needed)
        }
        out["properties"] = {**out.get("properties", {}), **named}
        out.pop("patternProperties", None)
        out["additionalProperties"] = False
        return []
    if not optional:
        out.update({"minProperties": least} if least else {})
        out.update({"maxProperties": most} if most is not None else {})
        return []
    rewriter.exact &= least <= 1 and most is None
    if least == 0 or len(optional) > 40:
        return []
    # One at least that is not required: each in turn must be there, or else one without a name.
    ways: list[Mask] = [{"type": "object", "required": [name]} for name in optional]
    if open_ended:
        unnamed = dict.fromkeys(properties, True) | dict.fromkeys(optional, False)
        ways.append({"properties": unnamed, "minProperties": len(needed) + 1})
    return [any_of([*ways, _no_object(out)])]


def _under(mask: dict[str, Any], name: str) -> Mask:
    """What an object's mask says of a property."""
    if name in mask.get("properties", {}):
        return mask["properties"][name]  # type: ignore[no-any-return]
    patterns = mask.get("patternProperties", {})
    found = [body for pattern, body in patterns.items() if matches(pattern, name)]
    return all_of(found) if found else mask.get("additionalProperties", True)


def _no_object(out: dict[str, Any]) -> Mask:
    """The mask of all but objects, as far as the type leaves any."""
    named = out.get("type", ["null", "boolean", "number", "string", "array"])
    others = [name for name in named if name != "object"] if isinstance(named, list) else []
    return {"type": others} if others else False
