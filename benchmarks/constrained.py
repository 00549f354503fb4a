"""What constraints cost: decoding many sequences at once, free and held to a schema, in turn.

python -m benchmarks.constrained [--sequences 16] [--rounds 5] [--threads 2]

All decode from the same prompts with the same parameters, and to no end, so that every step has
all sequences in it. The schema is an array of records, with much that is forced and so is not
sampled; the text forces nothing, and shows what masks alone cost.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from typing import Any

from cierzo import LLM, SamplingParams
from cierzo.chat.messages import Message
from cierzo.chat.tokenizers.tokenizer import token_bytes_of
from cierzo.generate.ask import Conversation
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.schema.subset.inlining import inlined

RECORD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "line": {"type": "integer"},
        "kind": {"enum": ["add", "delete", "replace"]},
        "text": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["path", "line", "kind", "text"],
    "additionalProperties": False,
}
SCHEMA = {"type": "array", "items": RECORD, "minItems": 10_000}


@dataclass(frozen=True)
class Speed:
    """Of one run."""

    steps: float  # a second
    tokens: float  # a second


def run(llm: LLM, count: int, steps: int, constraint: Constraint | None) -> Speed:
    """Steps of `count` sequences, after the prompts and some more."""
    engine = llm.engine
    for index in range(count):
        prompt = llm.render(
            Conversation(messages=[Message("user", f"List {index + 3} edits of a file.")])
        )
        params = SamplingParams(
            max_tokens=4_000, temperature=0.7, seed=index, ignore_eos=True, constraint=constraint
        )
        engine.add(str(index), prompt, params)
    while engine.stats().waiting:
        engine.step()
    for _ in range(20):
        engine.step()
    tokens = engine.stats().generated_tokens
    started = time.perf_counter()
    for _ in range(steps):
        engine.step()
    seconds = time.perf_counter() - started
    tokens = engine.stats().generated_tokens - tokens
    assert engine.stats().running == count
    for index in range(count):
        engine.abort(str(index))
    return Speed(steps / seconds, tokens / seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    grammar = f"start: {inlined(SCHEMA)}\n"
    kinds = {
        "free": None,
        "schema": Constraint(grammar=grammar),
        # All text but one character, which would end it.
        "text": Constraint(grammar=r'start: /[^\x01]*/ "\x01"'),
    }
    found: dict[str, list[Speed]] = {name: [] for name in kinds}
    with LLM(options.model, threads=options.threads, max_model_len=2_048) as llm:
        llm.engine.set_vocabulary(token_bytes_of(llm.tokenizer))
        for _ in range(options.rounds):
            for name, constraint in kinds.items():
                found[name].append(run(llm, options.sequences, options.steps, constraint))
    for name, speeds in found.items():
        steps = statistics.median(speed.steps for speed in speeds)
        tokens = statistics.median(speed.tokens for speed in speeds)
        print(f"{name}: {steps:.1f} steps/s, {tokens:.0f} tokens/s")
    for kind in list(kinds)[1:]:
        ratios = [
            round(held.tokens / free.tokens, 3)
            for free, held in zip(found["free"], found[kind], strict=True)
        ]
        print(f"tokens, {kind} / free: median {statistics.median(ratios)} of {ratios}")


if __name__ == "__main__":
    main()
