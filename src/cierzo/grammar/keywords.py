"""Keywords of JSON Schema whose work, as jsonschema does it, does not follow from what they touch.

Patterns are matched in bounded time instead of by Python's `re`; constants are looked up; an error
names the member at fault, not a list of them. Each is given the validator, the keyword's value, the
instance, and the schema around the keyword.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jsonschema import ValidationError

from cierzo.grammar import formats
from cierzo.grammar.pattern import PatternError, parse
from cierzo.grammar.values import exactly

# Of why a value is valid under no alternative so many errors are told of one, to find the one that
# got farthest.
FAULTS_OF_ONE = 8


def at(message: str, name: str | int) -> ValidationError:
    """Makes an error about one member of the value."""
    error = ValidationError(message)
    error.path.append(name)
    return error


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not validator.means.matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _format(validator: Any, name: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, str):
        return
    pattern = formats.PATTERNS.get(name)
    fits = pattern is None or validator.means.matches(pattern, instance)
    if name == "regex":
        validator.means.work.spend(4 * len(instance))
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
            if validator.means.matches(pattern, name):
                yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _extras(
    validator: Any, instance: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[str]:
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name in instance:
        if name not in named and not any(validator.means.matches(p, name) for p in patterns):
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


def _const(validator: Any, value: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    numbering = validator.means.numbering
    if numbering.number(instance) != numbering.number(value):
        yield ValidationError(f"{value!r} was expected")


def _enum(validator: Any, values: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if not validator.means.numbering.among(instance, values):
        yield ValidationError(f"{instance!r} is not one of the {len(values)} values of the enum")


def _multiple_of(validator: Any, step: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    """Decimals are divided as decimals: 1.11 is 111 times 0.01, which floats are not."""
    if not validator.is_type(instance, "number"):
        return
    if not math.isfinite(instance) or exactly(instance) % exactly(step):
        yield ValidationError(f"{instance!r} is not a multiple of {step!r}")


def _unique(validator: Any, unique: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if unique and isinstance(instance, list):
        validator.means.work.spend(2 * len(instance))
        seen = set()
        for index, item in enumerate(instance):
            key = validator.means.numbering.number(item)
            if key in seen:
                yield at("the item stands there twice", index)
            seen.add(key)


def _alternatives(
    validator: Any, options: Any, instance: Any, context: list[ValidationError]
) -> Iterator[int]:
    """Yields the places of the options that the value is valid under, and note why not the others.

    Not all of it: errors know each other, so what is noted lives until Python looks for such
    circles, and while it looks at a hundred thousand errors nobody can do anything.
    """
    means = validator.means
    for index, option in enumerate(options):
        found = validator.descend(instance, option, schema_path=index)
        errors = list(itertools.islice(found, min(FAULTS_OF_ONE, means.faults) or 1))
        if not errors:
            yield index
        elif means.faults > 0:
            means.faults -= len(errors)
            context += errors


def _any_of(validator: Any, options: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    context: list[ValidationError] = []
    if next(_alternatives(validator, options, instance, context), None) is None:
        yield ValidationError(f"{instance!r} is valid under no alternative", context=context)


def _one_of(validator: Any, options: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    context: list[ValidationError] = []
    valid = list(itertools.islice(_alternatives(validator, options, instance, context), 2))
    if not valid:
        yield ValidationError(f"{instance!r} is valid under no alternative", context=context)
    elif len(valid) > 1:
        yield ValidationError(
            f"{instance!r} is valid under two alternatives that exclude each other"
        )


def _evaluated(validator: Any, instance: Any, schema: Any) -> set[str]:
    """The names of the properties that a schema evaluates, if the value is valid under it."""
    if not isinstance(schema, dict):
        return set()
    validator.means.work.spend(10 + len(schema) + len(instance) // 2)
    if "$ref" in schema or "$dynamicRef" in schema:
        key = "$ref" if "$ref" in schema else "$dynamicRef"
        resolved = validator._resolver.lookup(schema[key])
        target = validator.evolve(schema=resolved.contents, _resolver=resolved.resolver)
        found = _evaluated(target, instance, resolved.contents)
    else:
        found = set()
    found |= instance.keys() & schema.get("properties", {}).keys()
    for pattern in schema.get("patternProperties", {}):
        found |= {name for name in instance if validator.means.matches(pattern, name)}
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
    evaluated = _evaluated(validator, instance, others)
    for name in itertools.filterfalse(evaluated.__contains__, instance):
        if not validator.evolve(schema=rest).is_valid(instance[name]):
            yield at(f"the property {name!r} may not be there", name)


KEYWORDS: Mapping[str, Callable[..., Any]] = {
    "additionalProperties": _additional,
    "anyOf": _any_of,
    "const": _const,
    "enum": _enum,
    "format": _format,
    "multipleOf": _multiple_of,
    "oneOf": _one_of,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "properties": _properties,
    "propertyNames": _property_names,
    "unevaluatedProperties": _unevaluated,
    "uniqueItems": _unique,
}
