"""How speed falls with the context, beside llama.cpp and ik_llama.cpp.

    python -m benchmarks.depth MODEL.gguf --peer DEPTH_PEER:ik --rounds 3

A prompt of 512 tokens behind a context, and tokens after it, in turn. A peer is a program made of
`depth_peer.cpp`. On both sides the context is one computed piece, copied again and again: what lies
in a cache does not change the time. Medians, as a table for RESULTS.md.
"""

import argparse
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.one_sequence import step_of
from cierzo.backends.cpu import CpuBackend
from cierzo.model.readers.checkpoint import open_checkpoint
from cierzo.model.runner import ModelRunner
from cierzo.settings import CacheDtype

_PIECE = 1024  # tokens computed for the context, then copied; the peers' program has the same
_PROMPT = 512
_ANSWER = 8
_CACHES: dict[CacheDtype, str] = {"int16": "f16", "int8": "q8_0"}  # ours: the peers'


@dataclass(frozen=True)
class Speed:
    """Tokens a second behind a context."""

    prefill: float
    decode: float


Contestant = Callable[[CacheDtype, int], Speed]


def cierzo(model: Path, threads: int) -> Contestant:
    """Cierzo, in this process."""

    def measure(cache: CacheDtype, context: int) -> Speed:
        backend = CpuBackend(threads)
        positions = context + _PIECE
        runner = ModelRunner(
            open_checkpoint(model),
            backend,
            num_blocks=positions // backend.block_size,
            kv_cache_dtype=cache,
            max_batch_tokens=_PROMPT,
            max_batch_sequences=1,
            max_model_len=positions,
        )
        chance = np.random.default_rng(0)

        def seconds(count: int, position: int) -> float:
            tokens = chance.integers(300, 20_000, count).astype(np.int32)
            batch = step_of(tokens, position, runner.block_size, np.array([count - 1]))
            began = time.perf_counter()
            runner.run(batch)
            return time.perf_counter() - began

        seconds(_PROMPT, 0)  # warms up
        for begin in range(0, min(context, _PIECE), _PROMPT):
            seconds(_PROMPT, begin)
        of_piece = _PIECE // backend.block_size
        for block in range(of_piece, context // backend.block_size):
            runner.copy_block(block % of_piece, block)
        prompt = seconds(_PROMPT, context)
        answer = [seconds(1, context + _PROMPT + i) for i in range(_ANSWER)]
        return Speed(_PROMPT / prompt, 1 / median(answer))

    return measure


def peer(program: str, model: Path, threads: int) -> Contestant:
    """A program made of depth_peer.cpp."""

    def measure(cache: CacheDtype, context: int) -> Speed:
        arguments = [program, str(model), _CACHES[cache], str(threads), str(context)]
        done = subprocess.run(arguments, check=True, capture_output=True, text=True)
        prompt, *answer = map(float, done.stdout.split())
        return Speed(_PROMPT / prompt, 1 / median(answer))

    return measure


def main() -> None:
    """Parse the command line, measure, print a table a round at a time and then of medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("model", type=Path)
    add("--peer", action="append", default=[], metavar="PROGRAM:NAME")
    add("--context", type=int, nargs="+", default=[0, 8192, 32768, 102400])
    add("--rounds", type=int, default=3)
    add("--threads", type=int, default=2)
    a = parser.parse_args()
    if any(context % _PIECE for context in a.context):
        parser.error(f"--context: multiples of {_PIECE}")
    contestants = {"Cierzo": cierzo(a.model, a.threads)}
    for given in a.peer:
        program, _, name = given.partition(":")
        contestants[name or program] = peer(program, a.model, a.threads)
    titles = [*contestants, *(["to the best"] if a.peer else [])]
    print("| tokens before | cache | " + " | ".join(titles) + " |")
    for cache in _CACHES:
        for context in a.context:
            speeds: dict[str, list[Speed]] = {name: [] for name in contestants}
            for _ in range(a.rounds):
                for name, measure in contestants.items():
                    speeds[name].append(measure(cache, context))
            for what in ("prefill", "decode"):
                print(_row(f"{context:,} | {cache}, {what}", speeds, what), flush=True)


def _row(title: str, speeds: dict[str, list[Speed]], what: str) -> str:
    """Each one's median, and the median over rounds of our ratio to the best of the others."""
    rounds = {name: [getattr(one, what) for one in runs] for name, runs in speeds.items()}
    ours, *others = rounds.values()
    cells = [f"{median(values):.1f}" for values in rounds.values()]
    best = [max(theirs) for theirs in zip(*others, strict=True)]
    if best:
        ratio = median(own / other for own, other in zip(ours, best, strict=True))
        cells.append(f"{ratio:.2f}x")
    return f"| {title} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
