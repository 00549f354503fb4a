"""How close the logits of Cierzo, and of llama.cpp, are to float32 on the same weights.

    python -m benchmarks.quality MODEL.gguf --llama-cpp-python PYTHON

Needs the `test` extra for the reference, which is kept in the work folder and made once. Writes
mean KL divergence (nats a token), perplexity and how often the most likely token is the same.
"""

import argparse
import json
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.reference import Floats, Tokens, log_softmax, make_reference
from benchmarks.report import write_report

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Closeness:
    """How far one engine's distributions are from the reference's, over every position."""

    mean_kl: float
    median_kl: float
    p99_kl: float
    top1_equal: float
    perplexity: float


@dataclass(frozen=True)
class Reference:
    """Token ids [W, T] and a way to get the log-probabilities [T, V] of one window."""

    tokens: Tokens
    logprobs: Callable[[int], Floats]


def closeness(reference: Reference, logits: Iterator[Floats]) -> Closeness:
    """Compare an engine's logits, one [T, V] array a window, with the reference."""
    divergences, equal, surprises = [], [], []
    for window, (ids, theirs) in enumerate(zip(reference.tokens, logits, strict=True)):
        expected, found = reference.logprobs(window), log_softmax(theirs)
        divergences.append((np.exp(expected) * (expected - found)).sum(-1, dtype=np.float64))
        equal.append(expected.argmax(-1) == found.argmax(-1))
        surprises.append(surprise(found, ids))
    kl = np.concatenate(divergences)
    return Closeness(
        mean_kl=float(kl.mean()),
        median_kl=float(np.median(kl)),
        p99_kl=float(np.quantile(kl, 0.99)),
        top1_equal=float(np.concatenate(equal).mean()),
        perplexity=float(np.exp(np.concatenate(surprises).mean())),
    )


def surprise(logprobs: Floats, ids: Tokens) -> Floats:
    """-ln p of each token after the first, [T - 1], given log-probabilities [T, V]."""
    following = ids[1:, None].astype(np.int64)
    return -np.take_along_axis(logprobs[:-1], following, axis=1)[:, 0]


def cierzo_logits(model: Path, tokens: Tokens, threads: int) -> Iterator[Floats]:
    """Yields our logits, [T, V] a window, computed as the server computes a prompt."""
    from cierzo import LLM

    with LLM(str(model), threads=threads, max_model_len=tokens.shape[1] + 1) as llm:
        for window in tokens:
            yield llm.logits(window.tolist())


def llama_cpp_logits(python: str, model: Path, tokens: Tokens, threads: int) -> Iterator[Floats]:
    """Yields llama.cpp's logits, [T, V] a window, from the Python that has llama-cpp-python."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "tokens.npy"
        np.save(source, tokens)
        script = str(_HERE / "llama_cpp_worker.py")
        arguments = ["logits", str(model), str(source), folder, str(threads)]
        subprocess.run([python, script, *arguments], check=True)
        for window in range(len(tokens)):
            yield np.load(Path(folder) / f"logits-{window}.npy")


def load_reference(folder: Path) -> Reference:
    """Open what `make_reference` wrote; windows are read when they are needed."""
    tokens = np.load(folder / "tokens.npy")
    return Reference(tokens, lambda window: np.load(folder / f"logprobs-{window}.npy"))


def main() -> None:
    """Parse the command line, measure, write quality.json and RESULTS.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("model", type=Path, help="a GGUF file small enough to run in float32")
    add("--llama-cpp-python", metavar="PYTHON", help="a Python that has llama-cpp-python")
    add("--windows", type=int, default=6)
    add("--window-length", type=int, default=512)
    add("--threads", type=int, default=2)
    add("--without-cierzo", action="store_true", help="measure the peer alone")
    add("--work-folder", type=Path, default=Path("build/benchmarks"))
    add("--results", type=Path, default=_HERE / "RESULTS.md")
    a = parser.parse_args()
    kept = a.work_folder / f"reference-{a.model.stem}-{a.windows}x{a.window_length}"
    if not kept.exists():
        make_reference(a.model, kept, a.windows, a.window_length)
    reference = load_reference(kept)
    engines: dict[str, Iterator[Floats]] = {}
    if not a.without_cierzo:
        engines["cierzo"] = cierzo_logits(a.model, reference.tokens, a.threads)
    if a.llama_cpp_python:
        engines["llama-cpp-python"] = llama_cpp_logits(
            a.llama_cpp_python, a.model, reference.tokens, a.threads
        )
    surprises = [surprise(reference.logprobs(w), ids) for w, ids in enumerate(reference.tokens)]
    found = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "file": a.model.name,
        "python": platform.python_version(),
        "tokens": int(reference.tokens.size),
        "reference_perplexity": float(np.exp(np.concatenate(surprises).mean())),
        "engines": {name: asdict(closeness(reference, logits)) for name, logits in engines.items()},
    }
    (a.work_folder / "quality.json").write_text(json.dumps(found, indent=2))
    print(json.dumps(found, indent=2))
    write_report(a.work_folder, a.results)


if __name__ == "__main__":
    main()
