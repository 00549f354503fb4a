"""How near the products with packed weights come to this machine's limits, on one thread.

    python -m benchmarks.kernels

For each matrix: GB/s of weights read with one token (decode), and GOP/s with many tokens
(prefill), with the share of the int8 peak that a loop of dot products alone reaches in the same
run. Matrices come in many copies where a model has many layers, so that caches behave as there.
Other work on the machine lowers all figures: the best of several passes counts.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from gguf import GGMLQuantizationType

from benchmarks.machine import measure_machine
from benchmarks.random_blocks import random_rows
from cierzo import _native


@dataclass(frozen=True)
class Case:
    """A weight's storage and shape, and how many of it there are."""

    storage: str
    rows: int
    cols: int
    copies: int


CASES = (
    Case("q4_1", 576, 576, 30),
    Case("q4_1", 1536, 576, 30),
    Case("q4_1", 576, 1536, 30),
    Case("q8_0", 49152, 576, 1),
    Case("q4_k", 5120, 32768, 1),
    Case("q6_k", 5120, 32768, 1),
)


def best_seconds(weights: list[_native.PackedWeight], tokens: int, passes: int) -> float:
    """Seconds for one product with each of the weights, the best of several passes."""
    x = np.random.default_rng(0).normal(size=(tokens, weights[0].cols)).astype(np.float32)
    return _native.measure_products(weights, x, passes)


def pack_random(case: Case, seed: int) -> _native.PackedWeight:
    """A weight of random numbers."""
    kind = GGMLQuantizationType[case.storage.upper()]
    raw = random_rows(np.random.default_rng(seed), kind, case.rows, case.cols, 0.02)
    return _native.pack(raw.reshape(-1), case.storage, case.rows, case.cols)


def main() -> None:
    """Measures and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=512, help="tokens of the prefill column")
    parser.add_argument("--passes", type=int, default=5, help="the best of so many counts")
    options = parser.parse_args()
    peak = measure_machine(1).peaks[0]
    print(f"{_native.active_isa()}; alone: {peak.int8_gops:.0f} GOP/s ({peak.int8_with}), ", end="")
    print(f"reads {peak.plain_gbs:.1f} GB/s plain, {peak.prefetched_gbs:.1f} GB/s prefetched")
    print("| weights | copies | 1 token, GB/s | prefill, GOP/s | of peak |")
    print("|---|---|---|---|---|")
    for case in CASES:
        weights = [pack_random(case, seed) for seed in range(case.copies)]
        gigabytes = sum(weight.nbytes for weight in weights) / 1e9
        gigaops = 2e-9 * case.rows * case.cols * case.copies
        decode = gigabytes / best_seconds(weights, 1, options.passes)
        prefill = gigaops * options.tokens / best_seconds(weights, options.tokens, options.passes)
        print(
            f"| {case.storage} {case.rows} x {case.cols} | {case.copies} | {decode:.1f} "
            f"| {prefill:.0f} | {prefill / peak.int8_gops:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
