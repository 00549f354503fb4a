"""Runs inside the Python that has llama-cpp-python; knows nothing of Cierzo.

    python llama_cpp_worker.py speed  MODEL PROMPT_TOKENS OUTPUT_TOKENS THREADS
    python llama_cpp_worker.py logits MODEL TOKENS.npy FOLDER THREADS

`speed` prints one JSON object (tokens a second; 0 for a part that was not asked for) and works as
llama-bench does: a warm-up, ids that mean nothing, no sampling, decoding from an empty context
when no prompt is asked for. `logits` reads ids [W, T] and writes FOLDER/logits-i.npy, float32
[T, V], for each window i.
"""

import json
import sys
from time import perf_counter

import numpy as np
from llama_cpp import Llama


def speed(model: str, prompt_tokens: int, output_tokens: int, threads: int) -> dict[str, float]:
    length = prompt_tokens + output_tokens + 8
    llama = _load(model, length, threads, logits_all=False)
    ids = [100 + (7919 * i) % 20000 for i in range(length)]
    llama.eval(ids[:8])
    llama.reset()
    start = perf_counter()
    if prompt_tokens:
        llama.eval(ids[:prompt_tokens])
    middle = perf_counter()
    for i in range(output_tokens):
        llama.eval(ids[i : i + 1])
    end = perf_counter()
    return {
        "prefill_tps": prompt_tokens / (middle - start) if prompt_tokens else 0.0,
        "decode_tps": output_tokens / (end - middle) if output_tokens else 0.0,
    }


def logits(model: str, tokens_file: str, folder: str, threads: int) -> None:
    tokens = np.load(tokens_file)
    llama = _load(model, tokens.shape[1], threads, logits_all=True)
    for window, ids in enumerate(tokens.tolist()):
        llama.reset()
        llama.eval(ids)
        np.save(f"{folder}/logits-{window}.npy", llama.scores[: len(ids)])


def _load(model: str, context: int, threads: int, *, logits_all: bool) -> Llama:
    return Llama(
        model,
        n_ctx=context,
        n_threads=threads,
        n_threads_batch=threads,
        logits_all=logits_all,
        verbose=False,
    )


if __name__ == "__main__":
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "speed":
        path, prompt, output, count = arguments
        print(json.dumps(speed(path, int(prompt), int(output), int(count))))
    else:
        path, source, target, count = arguments
        logits(path, source, target, int(count))
