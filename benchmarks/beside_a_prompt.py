"""What a long prompt that is being read does to those who decode, and they to it.

    python -m benchmarks.beside_a_prompt MODEL.gguf [--layers 40] [--decodes 1] [--tokens 400]

Each round has three parts on one engine: some sequences decode; a prompt is read alone; and both at
once. Shown are the times between two tokens of a decoding sequence, and the share of the prompt's
speed that is kept, each as a ratio within its round. `--layers 40` gives a checkpoint of few layers
(`benchmarks.make_checkpoint --layers 2`) so many, which take turns with the same weights.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

import numpy as np

from benchmarks.deep import deep_engine
from cierzo.engine.engine import Engine
from cierzo.engine.sampling_params import SamplingParams
from cierzo.settings import EngineSettings

_SHORT = 24  # tokens of a decoding sequence's prompt
_names = itertools.count()


@dataclass
class Part:
    """What came of one part of a round."""

    gaps: list[float] = field(default_factory=list)  # seconds of steps that gave a token
    seconds: float = 0.0  # that the prompt took

    def late(self) -> float:
        """The 95th percentile of the gaps."""
        return quantiles(self.gaps, n=20)[-1]


def run(engine: Engine, decodes: int, tokens: int, steps: int) -> Part:
    """So many sequences decode, for that many steps or while a prompt of `tokens` is read."""
    rng = np.random.default_rng(next(_names))
    answer = SamplingParams(max_tokens=4_000, temperature=0.0, ignore_eos=True)
    names = [f"decode {next(_names)}" for _ in range(decodes)]
    for name in names:
        engine.add(name, rng.integers(3, engine.vocab_size, _SHORT, dtype=np.int32), answer)
    seen: set[str] = set()
    while len(seen) < decodes:
        seen |= {output.request_id for output in engine.step()}
    part = Part()
    prompt = f"prompt {next(_names)}" if tokens else ""
    if tokens:
        one = SamplingParams(max_tokens=1, temperature=0.0)
        engine.add(prompt, rng.integers(3, engine.vocab_size, tokens, dtype=np.int32), one)
    began = time.perf_counter()
    read = False
    while not read and (tokens or len(part.gaps) < steps):
        start = time.perf_counter()
        outputs = engine.step()
        part.gaps.append(time.perf_counter() - start)
        read = any(output.request_id == prompt for output in outputs)
    part.seconds = time.perf_counter() - began
    for name in names:
        engine.abort(name)
    return part


def main() -> None:
    """Parses the command line, runs, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--layers", type=int, default=0, help="0: as many as the model has")
    parser.add_argument("--decodes", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=25, help="of decodes alone")
    args = parser.parse_args()
    settings = EngineSettings(prefix_cache="off", drafts="off")
    positions = args.tokens + args.decodes * 4_096 + 64
    engine = deep_engine(args.model, args.layers, positions, settings)
    run(engine, 0, args.tokens // 4, 0)  # so that something is known
    slower, kept = [], []
    for number in range(args.rounds):
        idle = run(engine, args.decodes, 0, args.steps)
        alone = run(engine, 0, args.tokens, 0)
        beside = run(engine, args.decodes, args.tokens, 0)
        slower.append(beside.late() / median(idle.gaps))
        kept.append(alone.seconds / beside.seconds)
        print(
            f"round {number + 1}: a token {median(idle.gaps):.3f} s (95%: {idle.late():.3f}), "
            f"beside the prompt {median(beside.gaps):.3f} (95%: {beside.late():.3f}): "
            f"{slower[-1]:.2f} times as long; the prompt {args.tokens / alone.seconds:.1f} "
            f"tokens/s in {len(alone.gaps)} steps, beside {args.tokens / beside.seconds:.1f} in "
            f"{len(beside.gaps)}: {kept[-1]:.0%}",
            flush=True,
        )
    print(f"median: {median(slower):.2f} times as long, {median(kept):.0%} kept")


if __name__ == "__main__":
    main()
