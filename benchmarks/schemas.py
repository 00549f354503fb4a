"""How many real schemas work, and whether any lets a wrong value through.

    python -m benchmarks.schemas schemas.jsonl --walks 3
    python -m benchmarks.schemas maskbench/data --sample 500
    python -m benchmarks.schemas maskbench/data --sample 500 --without outline

A schema comes with values that are valid or not, as in MaskBench. For each, this counts: whether
llguidance alone compiles it, whether `enforce` and llguidance do; whether each valid value is
accepted (spelled as json.dumps does, with its keys in the mask's order) and each invalid one
refused, by mask and verifier together; and whether random walks through the masks, mended by the
engine's own search, end in a value. Those are held to plain jsonschema.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import mistral_common
import numpy as np
from llguidance import LLMatcher
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from benchmarks.schema_parts import PARTS, switch_off
from cierzo.engine.constraints.constrained import Constrained, ConstraintError
from cierzo.grammar import schema as grammar_schema
from cierzo.grammar.compiler import GrammarCompiler
from cierzo.grammar.constraint import Check, Constraint
from cierzo.grammar.errors import GrammarError
from cierzo.grammar.schema import Enforced, SchemaError
from cierzo.grammar.verifier import Verifier
from cierzo.grammar.vocabulary import TokenBytes, Vocabulary

MOST_TOKENS = 3_000
CLOSERS = frozenset('"}]')


def read(
    path: Path, sample: int | None, seed: int = 1
) -> Iterator[tuple[str, Any, list[dict[str, Any]]]]:
    """Yields name, schema and tests, from a file of JSON lines or a folder of JSON files."""
    if path.is_file():
        lines = path.read_text().splitlines()
        rows = [json.loads(line) for line in lines if line]
        yield from ((row["name"], row["schema"], row.get("tests", [])) for row in rows)
        return
    files = sorted(path.glob("*.json"))
    random.Random(seed).shuffle(files)
    for file in files[:sample]:
        row = json.loads(file.read_text())
        yield file.stem, row["schema"], row.get("tests", [])


def small_vocabulary() -> Vocabulary:
    """A token for each byte: for feeding texts."""
    tokens = (b"</s>", *(bytes([byte]) for byte in range(256)))
    return Vocabulary(TokenBytes(tokens, (0,), (0,), ""), len(tokens))


def real_vocabulary() -> Vocabulary:
    """Mistral's vocabulary of 131,072 tokens."""
    path = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    tekken = Tekkenizer.from_file(path)
    special = tekken.num_special_tokens
    data = tuple(
        f"<special_{i}>".encode() if i < special else tekken.id_to_byte_piece(i)
        for i in range(tekken.n_words)
    )
    source = TokenBytes(data, tuple(range(special)), (tekken.eos_id,), "")
    return Vocabulary(source, tekken.n_words)


def constraint_of(schema: Any, enforced: Enforced) -> Constraint:
    checks = () if enforced.exact else (Check("value", json.dumps(schema)),)
    grammar = f"start: value\nvalue[capture]: {enforced.expression}\n"
    return Constraint(grammar=grammar, checks=checks)


class Feeder:
    """Finds whether a mask accepts a value, with the keys of its objects in any order."""

    def __init__(self, matcher: Any, orders: list[dict[str, int]]) -> None:
        self.matcher = matcher
        self.orders = orders
        self.left = 3_000

    def accepts(self, value: Any) -> bool:
        return any(self.matcher.is_accepting() for _ in self.ways(value))

    def text(self, text: str) -> Iterator[None]:
        ids = [byte + 1 for byte in text.encode("utf-8", "surrogatepass")]
        self.left -= 1
        if self.left < 0:
            return
        taken = self.matcher.try_consume_tokens(ids)
        if taken == len(ids):
            yield
        if taken:
            self.matcher.rollback(taken)

    def ways(self, value: Any) -> Iterator[None]:
        if isinstance(value, dict):
            for _ in self.text("{"):
                order = max(self.orders, key=lambda o: len(value.keys() & o), default={})
                names = sorted(value, key=lambda name: order.get(name, 1 << 30))
                yield from self.members(value, names, first=True)
        elif isinstance(value, list):
            for _ in self.text("["):
                yield from self.items(value, 0)
        else:
            for spelling in spellings(value):
                yield from self.text(spelling)

    def members(self, value: dict[str, Any], names: list[str], *, first: bool) -> Iterator[None]:
        if not names:
            yield from self.text("}")
        for name in names:
            start = ("" if first else ", ") + json.dumps(name, ensure_ascii=False) + ": "
            others = [other for other in names if other is not name]
            for _ in self.text(start):
                for _ in self.ways(value[name]):
                    yield from self.members(value, others, first=False)

    def items(self, value: list[Any], at: int) -> Iterator[None]:
        if at == len(value):
            yield from self.text("]")
            return
        for _ in self.text(", ") if at else [None]:
            for _ in self.ways(value[at]):
                yield from self.items(value, at + 1)


def spellings(value: Any) -> Iterator[str]:
    yield json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value.is_integer():
        yield str(int(value))
    elif isinstance(value, float) and "e" in repr(value):
        yield f"{value:.20f}".rstrip("0")


def orders_of(mask: Any) -> list[dict[str, int]]:
    """The orders of properties that a mask speaks of."""
    orders: list[dict[str, int]] = []
    stack = [mask]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            named = node.get("properties")
            if isinstance(named, dict):
                orders.append({name: at for at, name in enumerate(named)})
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return orders


class Walker:
    """Writes random answers, with a leaning towards ending what is open."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.compiler = GrammarCompiler(vocabulary)
        self.taken_back = 0  # tokens, by the search for a value that is valid
        tokens = vocabulary.tokens
        texts = [data.decode("utf-8", "replace") for data in tokens]
        self.closing = np.array([bool(text) and set(text) <= CLOSERS for text in texts])
        self.quoting = np.array([text.startswith('"') for text in texts]) & self.closing
        self.plain = np.array([bool(t) and t.isascii() and t.strip().isalnum() for t in texts])

    def walk(self, constraint: Constraint, seed: int) -> bytes:
        """A finished answer; ConstraintError if the search gave up, TimeoutError if none."""
        chance = np.random.default_rng(seed)
        state = Constrained(self.compiler.take(constraint), self.vocabulary)
        tokens: list[int] = []
        for step in range(MOST_TOKENS):
            state.fill_mask()
            bits = np.unpackbits(state.mask.view(np.uint8), bitorder="little")
            allowed = bits[: self.vocabulary.vocab_size].astype(bool)
            token = self.pick(allowed, chance, step, len(tokens))
            change = state.accept(token) or state.settle()
            self.taken_back += max(0, len(tokens) + 1 - change.keep)
            tokens = [*[*tokens, token][: change.keep], *change.append]
            if state.ended:
                return self.vocabulary.bytes_of(tokens)
        raise TimeoutError

    def pick(self, allowed: Any, chance: Any, step: int, length: int) -> int:
        eos = next(iter(self.vocabulary.control & set(np.flatnonzero(allowed[:1000]))), None)
        if eos is not None and chance.random() < 0.9:
            return int(eos)
        quoting = allowed & self.quoting
        closing = np.flatnonzero(quoting if quoting.any() else allowed & self.closing)
        eager = min(0.35 + length / 400, 0.97) if quoting.any() or length < 400 else 0.5
        if len(closing) and chance.random() < eager:
            return int(closing[int(chance.random() * len(closing))])
        plain = np.flatnonzero(allowed & self.plain)
        pool = plain if len(plain) and chance.random() < 0.9 else np.flatnonzero(allowed)
        return int(pool[int(chance.random() * len(pool))])


def wrong(schema: Any, value: bytes) -> str | None:
    """Says what plain jsonschema has against a value."""
    if isinstance(schema, dict) and "$schema" not in schema and old(schema):
        kind: Any = jsonschema.Draft7Validator
    else:
        kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    parsed = json.loads(value)
    try:
        error = jsonschema.exceptions.best_match(
            kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(parsed)
        )
    except (jsonschema.exceptions.SchemaError, RecursionError, Exception) as failure:
        return None if "Unresolvable" in type(failure).__name__ else f"? {failure!r}"[:200]
    return None if error is None else str(error.message)[:200]


def old(schema: Any) -> bool:
    return '"items": [' in json.dumps(schema)


class Tally:
    """Tries schemas and counts what comes of them."""

    def __init__(self, walks: int) -> None:
        self.walks = walks
        self.counts: Counter[str] = Counter()
        self.notes: list[str] = []
        self.times: list[tuple[float, str]] = []
        self.small = GrammarCompiler(small_vocabulary())
        self.walker = Walker(real_vocabulary()) if walks else None

    def schema(self, name: str, schema: Any, tests: list[dict[str, Any]]) -> None:
        self.counts["schemas"] += 1
        alone = LLMatcher.grammar_from_json_schema(schema)
        self.counts["llguidance alone compiles"] += not LLMatcher.validate_grammar(alone)
        began = time.perf_counter()
        try:
            enforced = grammar_schema.enforce(schema)
            compiled = self.small.take(constraint_of(schema, enforced))
        except (SchemaError, GrammarError) as error:
            valid = any(test["valid"] for test in tests)
            self.counts["refused, though a value is valid" if valid else "refused"] += 1
            self.notes.append(f"{name}: refused{' (VALID)' if valid else ''}: {error}")
            return
        finally:
            self.times.append((time.perf_counter() - began, name))
        self.counts["compile"] += 1
        self.counts["need no check"] += enforced.exact
        fine = self.tests(name, schema, tests, enforced, compiled.matcher)
        fine &= self.walk(name, schema, enforced)
        self.counts["work (tests pass; a walk ends; nothing invalid)"] += fine

    def tests(
        self, name: str, schema: Any, tests: list[dict[str, Any]], enforced: Enforced, matcher: Any
    ) -> bool:
        verifier = None if enforced.exact else Verifier(schema)
        fine = True
        orders = orders_of(enforced.mask)
        for test in tests:
            kind = "valid" if test["valid"] else "invalid"
            self.counts[f"{kind} values"] += 1
            value = test["data"]
            text = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
            violation = verifier.violation(text) if verifier else None
            feeder = Feeder(matcher.deep_copy(), orders)
            accepted = violation is None and feeder.accepts(value)
            if accepted == test["valid"]:
                self.counts[f"{kind} values {'accepted' if accepted else 'refused'}"] += 1
                continue
            fine = False
            why = "the mask, or the order of keys" if feeder.left < 0 else "the mask"
            why = violation.message if violation else why
            self.notes.append(f"{name}: {kind} value, {accepted=} {why}: {text.decode()[:150]}")
        return fine

    def walk(self, name: str, schema: Any, enforced: Enforced) -> bool:
        made = bad = 0
        for seed in range(self.walks):
            assert self.walker is not None
            self.counts["walks"] += 1
            try:
                value = self.walker.walk(constraint_of(schema, enforced), seed)
            except (ConstraintError, GrammarError) as error:
                self.counts["walks given up"] += 1
                self.notes.append(f"{name}: walk: {error}")
                continue
            except TimeoutError:
                self.counts["walks too long"] += 1
                self.notes.append(f"{name}: walk too long")
                continue
            made += 1
            problem = wrong(schema, value)
            if problem is not None:
                bad += 1
                self.counts["walks that end in an INVALID value"] += 1
                self.notes.append(f"{name}: INVALID {enforced.exact=}: {problem}: {value[:200]!r}")
        self.counts["walks that end in a value"] += made
        self.counts["schemas with a value from a walk"] += made > 0
        return not bad and (made > 0 or not self.walks)

    def report(self, *, verbose: bool) -> None:
        if verbose:
            print("\n".join(self.notes), end="\n\n")
        if self.walker is not None:
            self.counts["tokens taken back in walks"] = self.walker.taken_back
        for key, count in self.counts.items():
            print(f"| {key} | {count} |")
        self.times.sort()
        print(f"| median time to compile | {self.times[len(self.times) // 2][0] * 1000:.1f} ms |")
        print(f"| longest | {self.times[-1][0] * 1000:.0f} ms ({self.times[-1][1]}) |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("schemas", type=Path)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=1, help="which sample")
    parser.add_argument("--walks", type=int, default=2)
    parser.add_argument("--without", choices=PARTS, help="a part that is switched off")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    if options.without:
        switch_off(options.without)
    tally = Tally(options.walks)
    for name, schema, tests in read(options.schemas, options.sample, options.seed):
        tally.schema(name, schema, tests)
    tally.report(verbose=options.verbose)


if __name__ == "__main__":
    main()
