"""What a long cold prompt does to a turn that is appended to another session beside it.

    python -m benchmarks.append [MODEL.gguf] [--history 20000] [--new 700] [--cold 100000]

Without a model: one of two layers of random weights. A history is in the cache, and a turn with new
tokens is asked for: alone, and then over and over while a cold prompt is read. It comes in the
middle of a step, at a moment of chance. Shown are the times to its first token, by how far the
cold prompt has been read, as multiples of what they are alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from benchmarks.deep import deep_engine
from benchmarks.make_checkpoint import Geometry, write_checkpoint
from cierzo.engine.engine import Engine
from cierzo.engine.sampling_params import SamplingParams
from cierzo.settings import EngineSettings

Tokens = npt.NDArray[np.int32]
_ONE = SamplingParams(max_tokens=1, temperature=0.0)
_COLD = "cold"
_SMALL = Geometry(
    num_hidden_layers=2,
    hidden_size=1024,
    num_attention_heads=16,
    num_key_value_heads=4,
    head_dim=64,
    intermediate_size=4096,
    vocab_size=32_768,
)


def first_token(engine: Engine, name: str, prompt: Tokens, arrival: float) -> tuple[float, bool]:
    """Seconds until it has its token, when it came at `arrival`; whether the cold one has too."""
    engine.add(name, prompt, _ONE)
    seen: set[str] = set()
    while name not in seen:
        seen |= {output.request_id for output in engine.step()}
    return time.perf_counter() - arrival, _COLD in seen


def main() -> None:
    """Parses the command line, runs, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--history", type=int, default=20_000, help="tokens in the cache")
    parser.add_argument("--new", type=int, default=700, help="tokens of the turn")
    parser.add_argument("--cold", type=int, default=100_000, help="tokens of the cold prompt")
    parser.add_argument("--rounds", type=int, default=5, help="turns alone")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.model or Path(folder) / "random.gguf"
        if args.model is None:
            write_checkpoint(path, _SMALL, "Q4_K_M")
        measure(path, args)


def measure(path: Path, args: argparse.Namespace) -> None:
    """One cold prompt, from its first token to its last."""
    rng = np.random.default_rng(args.seed)
    positions = args.cold + args.history + 40 * (args.new + 64)
    engine = deep_engine(path, 0, positions, EngineSettings(drafts="off"))

    def tokens(count: int) -> Tokens:
        return rng.integers(3, engine.vocab_size, count, dtype=np.int32)

    history = tokens(args.history)

    def turn() -> Tokens:
        return np.concatenate((history, tokens(args.new)))

    first_token(engine, "history", history, 0.0)
    alone = [
        first_token(engine, f"alone {number}", turn(), time.perf_counter())[0]
        for number in range(args.rounds + 1)
    ]
    usual = median(alone[1:])
    print(f"alone: {usual:.3f} s (from {min(alone[1:]):.3f} to {max(alone[1:]):.3f})", flush=True)

    engine.add(_COLD, tokens(args.cold), _ONE)
    ratios = []
    done, number, marks = False, 0, [args.cold * (2 * i + 1) // 20 for i in range(10)]
    began = time.perf_counter()
    while not done:
        start = time.perf_counter()
        done = any(output.request_id == _COLD for output in engine.step())
        depth = next((s.num_computed for s in engine.scheduler.running), 0)
        if marks and depth >= marks[0] and not done:
            marks.pop(0)
            arrival = start + rng.random() * (time.perf_counter() - start)
            number += 1
            seconds, done = first_token(engine, f"beside {number}", turn(), arrival)
            ratios.append(seconds / usual)
            print(f"beside, from {depth} tokens on: {seconds:.3f} s, {ratios[-1]:.2f}", flush=True)
    print(f"the cold prompt: {time.perf_counter() - began:.1f} s")
    print(f"median {median(ratios):.2f}, most {max(ratios):.2f} times as long as alone")


if __name__ == "__main__":
    main()
