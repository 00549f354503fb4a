"""A validator for any draft that cannot be made to run away: patterns are matched in bounded time,
nothing is fetched, and the work is counted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from jsonschema import ValidationError
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing.exceptions import Unresolvable

from cierzo.grammar.pattern import MatchError, PatternError, Work, matches, parse
from cierzo.grammar.schema import formats
from cierzo.grammar.schema.masks import identity

_CLASSES: Mapping[int, Any] = {
    4: jsonschema.Draft4Validator,
    6: jsonschema.Draft6Validator,
    7: jsonschema.Draft7Validator,
    2019: jsonschema.Draft201909Validator,
    2020: jsonschema.Draft202012Validator,
}


class Unverifiable(ValueError):
    """Too much work, or something that cannot be decided."""


def validator_for(schema: Any, draft: int, work: Work) -> Any:
    """Give a jsonschema validator; using it raises Unverifiable once the work is done up."""
    base = _CLASSES[draft]
    keywords = {**base.VALIDATORS, **{k: f for k, f in _OURS.items() if k in base.VALIDATORS}}
    counted = {name: _counted(function, work) for name, function in keywords.items()}
    extended = jsonschema.validators.extend(base, counted)
    extended.work = work
    return extended(schema, registry=REGISTRY)


def _counted(function: Callable[..., Any], work: Work) -> Callable[..., Iterator[Any]]:
    def run(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        try:
            work.spend(20 + (len(instance) // 8 if isinstance(instance, list | dict | str) else 0))
            yield from function(validator, value, instance, schema) or ()
        except (MatchError, PatternError, OverflowError, Unresolvable) as error:
            raise Unverifiable(str(error)) from None

    return run


def at(message: str, name: str | int) -> ValidationError:
    """Make an error about one member of the value."""
    error = ValidationError(message)
    error.path.append(name)
    return error


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not matches(pattern, instance, validator.work):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _format(validator: Any, name: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, str):
        return
    pattern = formats.PATTERNS.get(name)
    fits = pattern is None or matches(pattern, instance, validator.work)
    if name == "regex":
        try:
            parse(instance)
        except PatternError:
            fits = False
    if not fits:
        yield ValidationError(f"{instance!r} is not a {name!r}")


def _properties(validator: Any, named: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for name, schema in named.items():
        if name in instance and schema is False:
            yield at(f"the property {name!r} may not be there", name)
        elif name in instance:
            yield from validator.descend(instance[name], schema, path=name, schema_path=name)


def _pattern_properties(
    validator: Any, patterns: Any, instance: Any, _: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, schema in patterns.items():
        for name, value in instance.items():
            if matches(pattern, name, validator.work):
                yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _extras(
    validator: Any, instance: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[str]:
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name in instance:
        if name not in named and not any(matches(p, name, validator.work) for p in patterns):
            yield name


def _additional(validator: Any, rest: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for name in _extras(validator, instance, schema):
        if rest is False:
            yield at(f"the property {name!r} may not be there", name)
        else:
            yield from validator.descend(instance[name], rest, path=name)


def _property_names(validator: Any, names: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for name in instance:
            if not validator.evolve(schema=names).is_valid(name):
                yield at(f"the name {name!r} is not allowed", name)


def _unique(validator: Any, unique: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if unique and isinstance(instance, list):
        seen = set()
        for index, item in enumerate(instance):
            key = identity(item)
            if key in seen:
                yield at("the item stands there twice", index)
            seen.add(key)


def _evaluated(validator: Any, instance: Any, schema: Any) -> set[str]:
    """Give the names of the properties that a schema evaluates, if the value is valid under it."""
    if not isinstance(schema, dict):
        return set()
    if "$ref" in schema or "$dynamicRef" in schema:
        key = "$ref" if "$ref" in schema else "$dynamicRef"
        resolved = validator._resolver.lookup(schema[key])
        target = validator.evolve(schema=resolved.contents, _resolver=resolved.resolver)
        found = _evaluated(target, instance, resolved.contents)
    else:
        found = set()
    found |= instance.keys() & schema.get("properties", {}).keys()
    for pattern in schema.get("patternProperties", {}):
        found |= {name for name in instance if matches(pattern, name, validator.work)}
    if "additionalProperties" in schema:
        found |= set(_extras(validator, instance, schema))
    if "unevaluatedProperties" in schema:
        found |= instance.keys()
    below = [part for key in ("allOf", "anyOf", "oneOf") for part in schema.get(key, ())]
    names = schema.get("dependentSchemas", {})
    below += [part for name, part in names.items() if name in instance]
    if "if" in schema:
        holds = validator.evolve(schema=schema["if"]).is_valid(instance)
        below += [schema["if"]] if holds else []
        below += [schema[key] for key in ["then" if holds else "else"] if key in schema]
    for part in below:
        inner = validator.evolve(schema=part)
        if inner.is_valid(instance):
            found |= _evaluated(inner, instance, part)
    return found


def _unevaluated(
    validator: Any, rest: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    others = {key: value for key, value in schema.items() if key != "unevaluatedProperties"}
    known = _evaluated(validator, instance, others)
    for name in itertools.filterfalse(known.__contains__, instance):
        if not validator.evolve(schema=rest).is_valid(instance[name]):
            yield at(f"the property {name!r} may not be there", name)


_OURS: Mapping[str, Callable[..., Any]] = {
    "pattern": _pattern,
    "properties": _properties,
    "format": _format,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "propertyNames": _property_names,
    "uniqueItems": _unique,
    "unevaluatedProperties": _unevaluated,
}
