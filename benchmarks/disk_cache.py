"""What the KV cache on disk is worth: after a restart, and where memory is too small.

    python -m benchmarks.disk_cache [MODEL] [--tokens 6000] [--kv-cache-dtype int16]

First a prompt that is computed, found in memory, and after a restart read from disk, with the file
in the page cache and without, beside what the disk takes to read as much. Then six sessions of six
turns each that take turns by chance, in a third of the memory that all of them need, with the disk
and without, and in enough memory.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cierzo import LLM, SamplingParams
from cierzo.engine.cache.disk.folders import BLOCKS

SESSIONS, TURNS, FIRST, GROWTH, ANSWER = 6, 6, 400, 300, 20
CONTEXT = FIRST + TURNS * (GROWTH + ANSWER) + ANSWER
FEW = SamplingParams(max_tokens=1, temperature=0.0)
SOME = SamplingParams(max_tokens=ANSWER, temperature=0.0, ignore_eos=True)
READ_BYTES = 1 << 20
Options = dict[str, Any]


@contextmanager
def opened(model: str, options: Options) -> Iterator[LLM]:
    """All that is made at the first request is there, and all that was offered to the disk in the
    end."""
    with LLM(model, **options) as llm:
        llm.generate([[1]], FEW)
        yield llm
        disk = llm.engine.cache.disk
        while disk is not None and disk.is_saving:
            llm.engine.stats()
            time.sleep(0.001)


def seconds(llm: LLM, prompt: list[int]) -> float:
    """Until the first token after a prompt."""
    started = time.perf_counter()
    llm.generate([prompt], FEW)
    return time.perf_counter() - started


def restart(model: str, tokens: int, options: Options, folder: Path) -> None:
    prompt = [random.Random(0).randrange(300, 40_000) for _ in range(tokens)]
    kept = {**options, "kv_cache_dir": str(folder)}
    with opened(model, kept) as llm:
        show("computed", seconds(llm, prompt))
        show("in memory", seconds(llm, prompt))
    with opened(model, kept) as llm:
        show("from disk", seconds(llm, prompt))
        read = llm.engine.stats().disk_bytes_read
    (file,) = folder.glob(f"*/{BLOCKS}")
    leave_page_cache(file)
    with opened(model, kept) as llm:
        show("from disk, not in the page cache", seconds(llm, prompt))
    leave_page_cache(file)
    started = time.perf_counter()
    with file.open("rb", buffering=0) as plain:
        left = read
        while left > 0 and (data := plain.read(min(left, READ_BYTES))):
            left -= len(data)
    show(f"the same {read / 1e6:.0f} MB, only read", time.perf_counter() - started)


def leave_page_cache(path: Path) -> None:
    """What is read of the file next comes from the disk."""
    number = os.open(path, os.O_RDONLY)
    os.fsync(number)
    os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(number)


def sessions(llm: LLM) -> tuple[float, float]:
    """The share of reusable tokens that was found, and the seconds that all took."""
    rng = random.Random(1)
    histories = [[rng.randrange(300, 40_000) for _ in range(FIRST)] for _ in range(SESSIONS)]
    reusable = 0
    started = time.perf_counter()
    for turn in range(TURNS):
        for session in rng.sample(range(SESSIONS), SESSIONS):
            if turn:
                reusable += len(histories[session]) - 1  # an answer's last token was not computed
            histories[session] += [rng.randrange(300, 40_000) for _ in range(GROWTH)]
            histories[session] += llm.generate([histories[session]], SOME)[0].token_ids
    return llm.engine.stats().cached_tokens / reusable, time.perf_counter() - started


def show(name: str, value: float) -> None:
    print(f"{name}: {value:.3f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=6_000)
    parser.add_argument("--kv-cache-dtype", default="int16")
    given = parser.parse_args()
    options: Options = {"kv_cache_dtype": given.kv_cache_dtype}
    with tempfile.TemporaryDirectory() as folder:
        restart(given.model, given.tokens, options, Path(folder) / "restart")
        with LLM(given.model, **options, kv_cache_disk_gb=0) as llm:
            block = llm.engine.cache.block_size
            block_bytes = llm.engine.runner.block_bytes  # type: ignore[attr-defined]
        needed = SESSIONS * (CONTEXT // block + 1) * block_bytes / 2**20
        for name, share, disk in (
            ("a third of the memory, disk", 1 / 3, True),
            ("a third of the memory, no disk", 1 / 3, False),
            ("enough memory", 1.2, False),
        ):
            where: Options = {"kv_cache_dir": str(Path(folder) / "sessions")}
            kept = {**options, **(where if disk else {"kv_cache_disk_gb": 0})}
            sized = {"kv_cache_memory_mb": int(needed * share), "max_model_len": CONTEXT}
            with opened(given.model, {**kept, **sized}) as llm:
                found, took = sessions(llm)
            print(f"{name}: {found:.1%} of the reusable tokens found, {took:.1f} s", flush=True)


if __name__ == "__main__":
    main()
