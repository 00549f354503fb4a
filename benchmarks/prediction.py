"""What of its possible gain a right prediction gains, and what drafts cost where none is right.

    python -m benchmarks.prediction MODEL [--tokens 400] [--rounds 5] [--threads 1]

In turn, in one process: steps of one sequence with 1 to 97 rows are timed in the model's runner
alone (`T`), and answers in the engine: without drafts, with drafts, with the answer as its
prediction, and eight at once without and with drafts. The bound is `T(m) / m` for the best `m`: as
if all drafts were right, and tokens were chosen in no time. The answers must be the same. With
one thread, processor time is taken, by the engine too: other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from unittest import mock

import numpy as np

from cierzo.backends.batch import Batch
from cierzo.backends.cpu import CpuBackend
from cierzo.backends.cpu.sizes import BLOCK_SIZE
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.engine.drafts.drafter import MOST
from cierzo.engine.engine import Engine
from cierzo.engine.sampling_params import SamplingParams
from cierzo.model.fetch.registry import resolve
from cierzo.model.readers.checkpoint import open_checkpoint
from cierzo.model.runner import ModelRunner
from cierzo.settings import EngineSettings

ROWS = (1, 2, 3, 4, 6, 8, 9, 12, 16, 24, 32, 48, 64, MOST + 1, 96)
THINGS = ("bees", "snow", "a bridge", "bread", "trains", "the sea", "a clock", "old maps")
TOGETHER = len(THINGS)
PROMPT_TOKENS = 40


class Bench:
    """One model, and engines over it with and without drafts."""

    def __init__(self, model: str, tokens: int, temperature: float, threads: int) -> None:
        found = resolve(model)
        checkpoint = open_checkpoint(found.path, found.tokenizer)
        longest = PROMPT_TOKENS + tokens
        self.runner = ModelRunner(
            checkpoint,
            CpuBackend(threads=threads),
            num_blocks=TOGETHER * -(-longest // BLOCK_SIZE) + 1,
            max_batch_tokens=512,
            max_batch_sequences=TOGETHER,
            max_model_len=longest + BLOCK_SIZE,
        )
        self.tokens = tokens
        self.temperature = temperature
        self.engines = {
            drafts: Engine(
                self.runner,
                (),
                EngineSettings(drafts=drafts, prefix_cache="off", max_batch_sequences=TOGETHER),
            )
            for drafts in ("off", "on")
        }
        tokenizer = load_tokenizer(checkpoint.tokenizer)
        texts = (f"A letter about {thing}.\n\nDear friend," for thing in THINGS)
        self.prompts = [tokenizer.encode(text)[:PROMPT_TOKENS] for text in texts]

    def step_seconds(self, rows: int) -> float:
        """A step of one sequence in the middle of the answer, by the model alone."""
        end = max(PROMPT_TOKENS + self.tokens // 2, rows)
        blocks = -(-end // BLOCK_SIZE)
        batch = Batch(
            token_ids=np.full(rows, 100, dtype=np.int32),
            positions=np.arange(end - rows, end, dtype=np.int32),
            query_start=np.array([0, rows], dtype=np.int32),
            context_len=np.array([end], dtype=np.int32),
            block_tables=np.arange(blocks, dtype=np.int32)[None],
            logits_rows=np.arange(rows, dtype=np.int32),
        )
        started = time.perf_counter()
        self.runner.run(batch)
        return time.perf_counter() - started

    def answers(
        self, drafts: str, count: int, prediction: list[int] | None = None
    ) -> tuple[list[list[int]], float]:
        """So many answers at once, and the seconds from the first token of one of them on."""
        engine = self.engines[drafts]
        given: dict[str, list[int]] = {}
        for number in range(count):
            params = SamplingParams(
                max_tokens=self.tokens, temperature=self.temperature, seed=number, ignore_eos=True
            )
            name = str(number)
            given[name] = []
            engine.add(name, self.prompts[number], params, prediction=prediction or ())
        started = 0.0
        while engine.has_work():
            for output in engine.step():
                given[output.request_id] += output.token_ids
                started = started or time.perf_counter()
        return list(given.values()), time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", help="a name, or a file")
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="without eight at once")
    parser.add_argument("--threads", type=int, default=0, help="0: as the server would take")
    args = parser.parse_args()
    if args.threads == 1:
        mock.patch.object(time, "perf_counter", time.process_time).start()
    bench = Bench(args.model, args.tokens, args.temperature, args.threads)
    wanted, _ = bench.answers("off", 1 if args.alone else TOGETHER)
    ways: dict[str, Callable[[], tuple[list[list[int]], float]]] = {
        "off": lambda: bench.answers("off", 1),
        "on": lambda: bench.answers("on", 1),
        "predicted": lambda: bench.answers("on", 1, wanted[0]),
    }
    if not args.alone:
        ways["8, off"] = lambda: bench.answers("off", TOGETHER)
        ways["8, on"] = lambda: bench.answers("on", TOGETHER)
    rows = [number for number in ROWS if number <= bench.runner.max_logits_rows]
    steps: dict[int, list[float]] = defaultdict(list)
    ratios: dict[str, list[float]] = defaultdict(list)
    for _ in range(args.rounds):
        took: dict[str, float] = {}
        for name, answer in ways.items():
            given, took[name] = answer()
            assert given == wanted[: len(given)], f"{name}: another answer"
        for number in rows:
            steps[number].append(min(bench.step_seconds(number) for _ in range(2)))
        best = min(steps[number][-1] / number for number in rows)
        ratios["drafts of what is not copied, one sequence"].append(took["off"] / took["on"])
        if not args.alone:
            ratios["the same, eight sequences"].append(took["8, off"] / took["8, on"])
        ratios["predicted, against no drafts"].append(took["off"] / took["predicted"])
        ratios["the bound, against no drafts"].append(steps[1][-1] / best)
        ratios["predicted, of the bound"].append(best * args.tokens / took["predicted"])
    print("| rows | T, ms | a token, ms |\n|---:|---:|---:|")
    for number in rows:
        seconds = min(steps[number])
        print(f"| {number} | {1e3 * seconds:.2f} | {1e3 * seconds / number:.3f} |")
    print("\n| | median | each round |\n|---|---:|---|")
    for name, values in ratios.items():
        print(f"| {name} | {median(values):.2f} | {', '.join(f'{v:.2f}' for v in values)} |")


if __name__ == "__main__":
    main()
