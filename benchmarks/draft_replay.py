"""How much of recorded answers is drafted right, and how much in vain, without a model.

    python -m benchmarks.draft_replay TRACES [--model smollm2-135m] [--ratio 4]

TRACES is a folder of sessions, `{"messages": [...]}` each, as `cierzo bench agent` takes them. They
are answered one after the other, word for word, by the engine's own drafter: with each request's
own words alone to copy from, and with what earlier turns and sessions left. A step is taken to cost
as much as `--ratio` drafted tokens, and one for each that it drafts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.engine.drafts.draft import Origin
from cierzo.engine.drafts.drafter import MOST, Drafter
from cierzo.engine.drafts.sources import Sources
from cierzo.engine.sampling_params import SamplingParams
from cierzo.engine.sequence import Sequence
from cierzo.engine.step_costs import StepCosts, Work
from cierzo.model.fetch.registry import resolve
from cierzo.model.readers.checkpoint import open_checkpoint

NOTHING = np.array([], dtype=np.int32)
LONGEST = 1 << 17  # tokens of a session
ALL_AT_ONCE = 1 << 20


@dataclass
class Tally:
    """What became of the answers of one way to draft."""

    tokens: int = 0
    steps: int = 0
    drafted: int = 0
    accepted: int = 0
    drafted_recent: int = 0
    accepted_recent: int = 0

    def row(self, ratio: float) -> str:
        """A row of the table."""
        speed = self.tokens * ratio / (self.steps * ratio + self.drafted)
        return (
            f"{self.tokens} | {self.accepted / self.tokens:.1%} "
            f"| {(self.drafted - self.accepted) / self.tokens:.1%} "
            f"| {self.accepted_recent} of {self.drafted_recent} | {speed:.2f}x |"
        )


def turns_of(path: Path, tokenizer: Tokenizer) -> Iterator[tuple[list[int], list[int]]]:
    """Prompt and answer of each turn."""
    history: list[int] = []
    for message in json.loads(path.read_text(encoding="utf-8"))["messages"]:
        head = tokenizer.encode(f"{message['role']}\n")
        tokens = [*tokenizer.encode(_text(message)), *tokenizer.encode("\n\n")]
        if message["role"] == "assistant" and history:
            yield [*history, *head], tokens
        history = [*history, *head, *tokens]


def _text(message: dict[str, Any]) -> str:
    calls = (json.dumps(call["function"]) for call in message.get("tool_calls") or ())
    return "\n".join([message.get("content") or "", *calls])


def answer(
    kept: Sources, drafter: Drafter, prompt: list[int], tokens: list[int], tally: Tally
) -> None:
    """One turn, as the engine would take its steps."""
    params = SamplingParams(max_tokens=len(tokens) + MOST)
    sequence = Sequence("turn", prompt, params, max_len=LONGEST)
    draft = kept.draft_for(sequence, NOTHING)
    assert draft is not None
    wanted = np.array(tokens, dtype=np.int32)
    given = 0
    while given < len(tokens):
        draft.follow(sequence, ALL_AT_ONCE)
        drafter.plan([(sequence, draft)], 1, MOST)
        count = sequence.num_draft
        first = sequence.num_tokens
        right = _same(sequence.tokens[first : first + count], wanted[given:])
        recent = draft.index.origin == Origin.RECENT
        if count:
            drafter.learn(draft, count, right)
        new = wanted[given : given + right + 1].tolist()
        for token in new:
            sequence.append(token)
        given += len(new)
        tally.steps += 1
        tally.drafted += count
        tally.accepted += right
        tally.drafted_recent += count * recent
        tally.accepted_recent += right * recent
    tally.tokens += len(tokens)
    kept.leave(draft, sequence)


def _same(one: npt.NDArray[np.int32], other: npt.NDArray[np.int32]) -> int:
    most = min(len(one), len(other))
    different = np.flatnonzero(one[:most] != other[:most])
    return int(different[0]) if len(different) else most


def costs_of(ratio: float) -> StepCosts:
    """A machine on which a step costs as much as so many drafted tokens."""
    costs = StepCosts()
    for _ in range(9):
        for drafted in (0, 7, 24, MOST):
            costs.observe(Work(sequences=1, drafted=drafted), (ratio + drafted) / 1000)
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", type=Path)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--ratio", type=float, default=4.0)
    args = parser.parse_args()
    found = resolve(args.model)
    tokenizer = load_tokenizer(open_checkpoint(found.path, found.tokenizer).tokenizer)
    sessions = [list(turns_of(path, tokenizer)) for path in sorted(args.traces.glob("*.json"))]
    print(
        "| copied from | tokens | drafted and right | drafted in vain | from recent answers "
        "| speed |\n|---|---|---|---|---|---|"
    )
    for name, keep in (("own words", False), ("and earlier requests", True)):
        kept, drafter, tally = (
            Sources(drafts=True, keep=keep),
            Drafter(costs_of(args.ratio)),
            Tally(),
        )
        for session in sessions:
            for prompt, tokens in session:
                answer(kept, drafter, prompt, tokens, tally)
        print(f"| {name} | {tally.row(args.ratio)}", flush=True)


if __name__ == "__main__":
    main()
