"""Values that masks alone do not hold to their schema are searched until they are valid."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import numpy as np
import pytest

from cierzo.engine.constraints.constrained import Constrained, ConstraintError
from cierzo.grammar.compiler import GrammarCompiler
from cierzo.grammar.constraint import Check, Constraint
from cierzo.grammar.schema import enforce
from cierzo.grammar.vocabulary import TokenBytes, Vocabulary

TOKENS = (b"</s>", *(bytes([byte]) for byte in range(256)), b'": ', b'", "', b"true", b"12", b"[[")
NO_MULTIPLES = [{"not": {"multipleOf": number}} for number in (2, 3, 5, 7)]
PAIR = {"n": {"enum": [1, 2, 3]}, "m": {"enum": [1, 2, 3]}}
EQUAL = [{"n": number, "m": number} for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(TokenBytes(TOKENS, (0,), (0,), ""), len(TOKENS))


def written(vocabulary: Vocabulary, schema: Any, seed: int) -> Any:
    """Writes a value as a model would that knows nothing, but likes short texts."""
    enforced = enforce(schema)
    assert not enforced.exact
    constraint = Constraint(
        grammar=f"start: value\nvalue[capture]: {enforced.expression}\n",
        checks=(Check("value", json.dumps(schema)),),
    )
    state = Constrained(GrammarCompiler(vocabulary).take(constraint), vocabulary)
    chance = np.random.default_rng(seed)
    tokens: list[int] = []
    for _ in range(5_000):
        state.fill_mask()
        bits = np.unpackbits(state.mask.view(np.uint8), bitorder="little")
        allowed = np.flatnonzero(bits[: len(TOKENS)])
        likely = [token for token in allowed if TOKENS[token] in (b"</s>", b'"', b"]", b"}")]
        pool = likely if likely and chance.random() < 0.6 else allowed
        token = int(pool[int(chance.random() * len(pool))])
        change = state.accept(token) or state.settle()
        tokens = [*[*tokens, token][: change.keep], *change.append]
        if state.ended:
            return json.loads(vocabulary.bytes_of(tokens))
    raise AssertionError("it does not end")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": 0, "maximum": 400, "not": {"multipleOf": 2}},
        {"type": "integer", "minimum": 0, "maximum": 99, "allOf": NO_MULTIPLES},
        {"type": "string", "maxLength": 3, "pattern": r"^a\b"},
        {"type": "array", "uniqueItems": True, "items": {"enum": ["a", "b", "c"]}, "minItems": 3},
        {"type": "array", "contains": {"const": 7}, "items": {"type": "integer"}, "maxItems": 4},
        {"type": "object", "properties": PAIR, "required": ["n", "m"], "not": {"enum": EQUAL}},
        {"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 2},
    ],
    ids=["number", "primes", "string", "permutation", "contains", "unequal", "map"],
)
@pytest.mark.parametrize("seed", range(3))
def test_what_comes_out_is_valid(vocabulary: Vocabulary, schema: Any, seed: int) -> None:
    jsonschema.validate(written(vocabulary, schema, seed), schema)


def test_the_same_choices_give_the_same_value(vocabulary: Vocabulary) -> None:
    schema = {"type": "array", "uniqueItems": True, "items": {"enum": [1, 2, 3]}, "minItems": 3}
    assert written(vocabulary, schema, 5) == written(vocabulary, schema, 5)


def test_where_nothing_is_valid_it_ends_with_an_error(vocabulary: Vocabulary) -> None:
    schema = {"type": "integer", "minimum": 1, "maximum": 9, "allOf": [{"not": {"multipleOf": 1}}]}
    with pytest.raises(ConstraintError, match="no answer was found"):
        written(vocabulary, schema, 0)
