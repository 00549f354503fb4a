"""Schemas made at random: masks and verifier agree with jsonschema about values made at random."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest

from cierzo.grammar.schema import SchemaError, enforce
from cierzo.grammar.verifier import Verifier
from tests.support.masks import matcher_for

TEXTS = ["", "a", "b", "ab", "abc", "ba", "2024-01-01"]
PATTERNS = ["^a", "b$", "^[ab]*$", "c|^$", "^(?!a)", "^(?=.*b)"]
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object", "object"]
BOUNDS = ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"]
PARTS = ["items", "contains", "additionalProperties", "not", "unevaluatedProperties"]


class Maker:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def pick(self, options: Any) -> Any:
        return self.random.choice(options)

    def some(self, options: Any, most: int) -> list[Any]:
        return sorted(self.random.sample(options, self.random.randint(1, most)))

    def value(self, depth: int = 0) -> Any:
        makers: list[Callable[[], Any]] = [
            lambda: None,
            lambda: self.pick([True, False]),
            lambda: self.random.randint(-2, 6),
            lambda: self.pick([0.5, 1.5, 2.0, -1.25]),
            lambda: self.pick(TEXTS),
        ]
        if depth < 2:
            makers.append(lambda: [self.value(depth + 1) for _ in range(self.random.randint(0, 3))])
            makers.append(lambda: {n: self.value(depth + 1) for n in self.some("abcd", 2)})
        return self.pick(makers)()

    def schema(self, depth: int = 0) -> Any:
        if depth > 3:
            return self.pick([True, False, {}, {"type": "string"}, {"type": "integer"}])
        made: dict[str, Any] = {}
        for _ in range(self.random.randint(1, 3)):
            made.update(self.keyword(depth))
        return made

    def keyword(self, depth: int) -> dict[str, Any]:
        def part() -> Any:
            return self.schema(depth + 1)

        def parts() -> list[Any]:
            return [part() for _ in range(self.random.randint(1, 3))]

        makers: list[Callable[[], dict[str, Any]]] = [
            lambda: {"type": self.pick(TYPES)},
            lambda: {"type": ["null", self.pick(TYPES)]},
            lambda: {"enum": [self.value(1) for _ in range(3)]},
            lambda: {"const": self.value(1)},
            lambda: {self.pick(["minimum", "exclusiveMaximum"]): self.random.randint(-1, 5)},
            lambda: {"multipleOf": self.pick([2, 3, 0.5])},
            lambda: {self.pick(BOUNDS): self.random.randint(0, 3)},
            lambda: {"pattern": self.pick(PATTERNS)},
            lambda: {"format": "date"},
            lambda: {"uniqueItems": True},
            lambda: {self.pick(PARTS): part()},
            lambda: {"prefixItems": parts()},
            lambda: {"properties": {name: part() for name in self.some("abc", 3)}},
            lambda: {"properties": {name: part() for name in self.some("abc", 3)}},
            lambda: {"patternProperties": {p: part() for p in self.some(["^a", "^[bc]$", "d"], 2)}},
            lambda: {"propertyNames": self.pick([{"pattern": "^[ab]"}, {"enum": ["a", "b"]}])},
            lambda: {"required": self.some("abc", 2)},
            lambda: {"dependentRequired": {self.pick("abc"): [self.pick("abc")]}},
            lambda: {"dependentSchemas": {self.pick("abc"): part()}},
            lambda: {self.pick(["allOf", "anyOf", "oneOf"]): parts()},
            lambda: {self.pick(["anyOf", "oneOf"]): parts()},
            lambda: {"if": part(), "then": part(), "else": part()},
            lambda: {"$ref": self.pick(["#/$defs/x", "#/$defs/y"])},
        ]
        return self.pick(makers)()


def spellings(value: Any) -> Iterator[str]:
    """All spellings, with keys in any order."""
    if isinstance(value, dict):
        for names in itertools.permutations(value):
            members = [[f"{json.dumps(n)}: {t}" for t in spellings(value[n])] for n in names]
            yield from (f"{{{', '.join(chosen)}}}" for chosen in itertools.product(*members))
    elif isinstance(value, list):
        texts = itertools.product(*(list(spellings(item)) for item in value))
        yield from (f"[{', '.join(chosen)}]" for chosen in texts)
    else:
        yield json.dumps(value)
        if isinstance(value, float) and value.is_integer():
            yield str(int(value))


def accepted(matcher: Any, value: Any) -> bool:
    for text in spellings(value):
        fresh = matcher.deep_copy()
        data = list(text.encode())
        if fresh.try_consume_tokens(data) == len(data) and fresh.is_accepting():
            return True
    return False


@pytest.mark.parametrize("seed", range(6))
def test_masks_and_verifier_agree_with_jsonschema(seed: int) -> None:
    maker = Maker(seed)
    kind = jsonschema.Draft202012Validator
    exact = 0
    for _ in range(50):
        schema = maker.schema()
        schema["$defs"] = {"x": maker.schema(2), "y": maker.schema(2)}
        values = [maker.value() for _ in range(10)]
        plain = kind(schema, format_checker=kind.FORMAT_CHECKER)
        try:
            valid = [plain.is_valid(value) for value in values]
            enforced = enforce(schema)
        except (RecursionError, SchemaError):
            continue
        exact += enforced.exact
        matcher = matcher_for(enforced)
        verifier = Verifier(schema)
        for value, is_valid in zip(values, valid, strict=True):
            assert (verifier.violation(json.dumps(value).encode()) is None) == is_valid
            if enforced.exact:
                assert accepted(matcher, value) == is_valid, (schema, value)
    assert exact > 10


def test_what_is_refused_has_no_valid_value() -> None:
    maker = Maker(1000)
    refused = 0
    for _ in range(400):
        schema = maker.schema()
        try:
            enforce(schema)
        except SchemaError as error:
            if "$ref" in str(schema) or "itself" in str(error):
                continue
            refused += 1
            plain = jsonschema.Draft202012Validator(schema)
            assert not any(plain.is_valid(maker.value()) for _ in range(40)), schema
    assert refused > 3
