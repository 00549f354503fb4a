"""What a grammar may force at once is known before it does, and too much is never forced."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cierzo.grammar.compiler import GrammarCompiler
from cierzo.grammar.constraint import Check, Constraint
from cierzo.grammar.forced import DEEPEST, MOST_FORCED, UNBOUNDED, most_forced
from cierzo.grammar.schema import enforce
from cierzo.grammar.vocabulary import TokenBytes, Vocabulary

TOKENS = (b"</s>", *(bytes([byte]) for byte in range(256)))
REQUESTS = Path(__file__).parents[1] / "data" / "requests"
LONG = "lorem ipsum " * 40
MARKS = 40  # brackets and quotes around values, which are not counted


def closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def chain(length: int) -> dict[str, Any]:
    links = {f"d{at}": {"$ref": f"#/$defs/d{at + 1}"} for at in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**links, f"d{length}": {"const": LONG}}}


# Each forces something at once, somewhere.
SCHEMAS: dict[str, Any] = {
    "constant": {"const": LONG},
    "no ASCII": {"const": "\N{GRINNING FACE} é" * 40},
    "one of two": {"enum": [1, LONG]},
    "items": {"type": "array", "items": {"const": LONG}, "minItems": 7},
    "the count beside the items": {"allOf": [{"items": {"const": LONG}}], "minItems": 7,
                                   "type": "array"},
    "rows of rows": {"type": "array", "minItems": 4, "items": {
        "type": "array", "minItems": 5, "items": {"const": "word"}}},
    "tuple": {"type": "array", "prefixItems": [{"const": LONG}, {"const": LONG}], "minItems": 2},
    "members": closed({f"{LONG} {at}": {"const": at} for at in range(9)}),
    "names alone": {"type": "object", "required": [LONG, "b"], "additionalProperties": True},
    "pattern": {"type": "string", "pattern": "^(abc){90}$"},
    "length of one letter": {"type": "string", "pattern": "^a*$", "minLength": 300},
    "alternatives": {"anyOf": [closed({"a": {"const": LONG}}), closed({"b": {"const": 1}})]},
    "references": chain(20),
    "map": {"type": "object", "minProperties": 1, "additionalProperties": False,
            "patternProperties": {"^(k|l)$": {"const": LONG}}},
    "not not": {"not": {"not": {"const": LONG}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def grammars() -> GrammarCompiler:
    return GrammarCompiler(Vocabulary(TokenBytes(TOKENS, (0,), (0,), ""), len(TOKENS)))


def constraint_for(schema: Any) -> Constraint:
    rule = f"start: value\nvalue[capture]: {enforce(schema).expression}\n"
    return Constraint(grammar=rule, checks=(Check("value", json.dumps(schema)),))


def longest_run(grammars: GrammarCompiler, schema: Any, seed: int) -> int:
    """What is forced at once at most, while a text is written by chance."""
    matcher = grammars.take(constraint_for(schema)).matcher
    mask = np.zeros(grammars.vocabulary.num_words, dtype=np.uint32)
    chance = random.Random(seed)
    longest = 0
    for _ in range(60):
        forced = matcher.compute_ff_bytes()
        longest = max(longest, len(forced))
        matcher.consume_tokens([byte + 1 for byte in forced])
        if matcher.is_stopped():
            break
        matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        allowed = np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))
        matcher.consume_token(int(chance.choice(list(allowed))))
        assert not matcher.is_error()
    return longest


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_more_is_forced_than_was_foreseen(grammars: GrammarCompiler, name: str) -> None:
    bound = most_forced(SCHEMAS[name])
    runs = [longest_run(grammars, SCHEMAS[name], seed) for seed in range(8)]
    assert 40 < bound < MOST_FORCED
    assert 10 < max(runs) <= bound + MARKS, "and something is forced"


def test_what_closes_a_value_of_values_counts_as_often_as_they_nest() -> None:
    """However deep: its end is one row of closing marks and constants."""
    tree = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/tree"}]}
    first = {"$defs": {"tree": closed({"label": {"const": LONG}, "below": tree})}}
    last = {"$defs": {"tree": closed({"below": tree, "label": {"const": LONG}})}}
    chosen = {
        "$defs": {
            "tree": closed({"below": tree, "label": {"const": LONG}, "size": {"type": "integer"}})
        }
    }
    root = {"$ref": "#/$defs/tree"}
    assert most_forced({**root, **first}) < MOST_FORCED
    assert most_forced({**root, **chosen}) < MOST_FORCED
    assert most_forced({**root, **last}) > DEEPEST * len(LONG)


@pytest.mark.parametrize("size", [500, 2_000])
def test_to_find_out_takes_few_looks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Definitions that double, or hang on each other: no more is looked at than there is."""
    from cierzo.grammar import forced

    monkeypatch.setattr(forced, "MOST_VISITS", 20 * size)
    both = [{"$ref": "#/$defs/d1"}, {"$ref": "#/$defs/d1"}]
    wide = {f"d{at}": {"type": "object", "properties": {"x": both[0]}} for at in range(2, size)}
    assert most_forced({"$defs": {"d1": {"const": 1}, **wide}, "allOf": both}) < 100
    doubling = {
        f"d{at}": closed({name: {"$ref": f"#/$defs/d{at + 1}"} for name in "ab"})
        for at in range(60)
    }
    doubling["d60"] = {"const": 1}
    assert most_forced({"$defs": doubling, "$ref": "#/$defs/d0"}) == UNBOUNDED
    assert most_forced(chain(size)) >= len(LONG)


def test_what_forces_too_much_is_sampled_instead(grammars: GrammarCompiler) -> None:
    """Or the interpreter's lock were held for 20 s, while every request waits."""
    for count in (20, 40, 1_500):
        schema = {"type": "array", "items": {"const": LONG}, "minItems": count}
        matcher = grammars.take(constraint_for(schema)).matcher
        forced = len(matcher.compute_ff_tokens())
        if count == 20:
            assert forced > count * len(LONG)
        else:
            assert forced == 0
        text = [byte + 1 for byte in json.dumps([LONG] * 2).encode()[forced:-1]]
        assert matcher.try_consume_tokens(text) == len(text)


def schemas_in(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [found for item in value for found in schemas_in(item)]
    if not isinstance(value, dict):
        return []
    own = [value[key] for key in ("parameters", "schema", "input_schema") if key in value]
    return [s for s in own if isinstance(s, dict)] + schemas_in(list(value.values()))


def test_no_schema_that_clients_send_forces_too_much() -> None:
    """So their constraints stay as fast as they are."""
    seen = 0
    for path in REQUESTS.glob("*.json"):
        for schema in schemas_in(json.loads(path.read_text())):
            try:
                enforce(schema)
            except ValueError:  # it is read in another way, or refused
                continue
            seen += 1
            assert most_forced(schema) <= MOST_FORCED, path.name
    assert seen > 50
