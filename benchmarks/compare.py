"""Runs Cierzo and its peers in turn and writes RESULTS.md.

    python -m benchmarks.compare --llama-cpp-python PYTHON --openvino-python PYTHON \\
        --llama-bench PATH:ik_llama.cpp --llama-bench "PATH:ik_llama.cpp, repacked:-rtr 1"

Every round runs each contestant once, one after the other, so that a disturbance of the machine
hits all alike; the results are medians and the ratios within each round.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.contestants import Contestant, Failed, contestants, measure
from benchmarks.machine import busy_cores, measure_machine
from benchmarks.report import write_report
from benchmarks.rows import ROWS, Row, work


@dataclass
class Outcome:
    """What one row gave; samples are tokens a second, one a round."""

    key: str
    title: str
    part: str
    prefill_ops: float
    decode_bytes: float
    busy_cores: float = 0.0  # by other work, at worst, before any of the rounds
    files: dict[str, str] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    idle: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    extra: dict[str, dict[str, float]] = field(default_factory=dict)


def compare(
    row: Row, who: Sequence[Contestant], files: Sequence[Path], rounds: int, threads: int
) -> Outcome:
    """Measures one row. `files` are the quantisations to choose from, the given one first."""
    cost = work(files[0])
    outcome = Outcome(row.key, row.title, row.part, cost.prefill_ops, cost.decode_bytes)
    playing: list[tuple[Contestant, Path]] = []
    for one in who:
        try:
            chosen = _best_file(one, row, files, threads) if row.files == "best" else files[0]
        except Failed as failure:
            outcome.failures[one.name] = str(failure)
            continue
        playing.append((one, chosen))
        outcome.files[one.name] = chosen.name
        outcome.commands[one.name] = _shown(one.command(chosen, row.prompt, row.output, threads))
    for _ in range(rounds):
        outcome.busy_cores = max(outcome.busy_cores, busy_cores())
        for one, file in list(playing):
            try:
                _measure_once(one, file, row, threads, outcome)
            except Failed as failure:
                outcome.failures[one.name] = str(failure)
                outcome.samples.pop(one.name, None)
                outcome.idle.pop(one.name, None)
                playing.remove((one, file))
    return outcome


def _measure_once(one: Contestant, file: Path, row: Row, threads: int, outcome: Outcome) -> None:
    if row.disturbed:
        idle = _rate(one, file, row, threads, outcome)
        with _burning_core():
            rate = _rate(one, file, row, threads, outcome)
        outcome.idle.setdefault(one.name, []).append(idle)
    else:
        rate = _rate(one, file, row, threads, outcome)
    outcome.samples.setdefault(one.name, []).append(rate)
    print(f"{row.key:18} {one.name:28} {rate:9.1f} tokens/s", flush=True)


def _rate(one: Contestant, file: Path, row: Row, threads: int, outcome: Outcome | None) -> float:
    speed = measure(one, file, row.prompt, row.output, threads)
    if outcome is not None and speed.extra:
        outcome.extra[one.name] = dict(speed.extra)
    return speed.prefill_tps if row.part == "prefill" else speed.decode_tps


def _best_file(one: Contestant, row: Row, files: Sequence[Path], threads: int) -> Path:
    """The file that this contestant is fastest with, by one trial each."""
    rates: dict[Path, float] = {}
    failure = Failed("no file to run")
    for file in files:
        try:
            rates[file] = _rate(one, file, row, threads, None)
        except Failed as error:
            failure = error
    if not rates:
        raise failure
    return max(rates, key=lambda file: rates[file])


@contextmanager
def _burning_core() -> Iterator[None]:
    """Keeps one other process busy on whatever core the system gives it."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _shown(command: Sequence[str]) -> str:
    """The command as results show it: programs and files by name, without folders."""
    return " ".join(Path(part).name if "/" in part else part for part in command)


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--llama-cpp-python", metavar="PYTHON", help="a Python that has llama-cpp-python")
    add("--openvino-python", metavar="PYTHON", help="a Python that has openvino-genai")
    add("--llama-bench", metavar="PATH[:NAME[:ARGS]]", action="append", default=[])
    add("--smollm2", type=Path, help="the Q4_1 file; default: what `cierzo pull` fetches")
    add("--variant", type=Path, action="append", default=[], help="SmolLM2 otherwise quantised")
    add("--devstral", type=Path, help="2 layers; default: made in the work folder")
    add("--devstral-full", type=Path, help="40 layers; its rows are left out without it")
    add("--rows", nargs="*", choices=[row.key for row in ROWS], help="default: all")
    add("--without-cierzo", action="store_true", help="measure the peers alone")
    add("--rounds", type=int, default=5)
    add("--threads", type=int, default=2)
    add("--work-folder", type=Path, default=Path("build/benchmarks"))
    add("--results", type=Path, default=Path(__file__).with_name("RESULTS.md"))
    arguments = parser.parse_args()
    folder: Path = arguments.work_folder
    folder.mkdir(parents=True, exist_ok=True)
    who = contestants(
        arguments.llama_cpp_python,
        arguments.openvino_python,
        arguments.llama_bench,
        with_cierzo=not arguments.without_cierzo,
    )
    wanted = [row for row in ROWS if arguments.rows is None or row.key in arguments.rows]
    if arguments.devstral_full is None:
        wanted = [row for row in wanted if row.model != "devstral-full"]
    files = {
        "smollm2": [arguments.smollm2 or _default_model(), *arguments.variant],
        "devstral": [arguments.devstral or _two_layers(folder)],
        "devstral-full": [arguments.devstral_full],
    }
    machine = measure_machine(arguments.threads)
    store = folder / "speed.json"
    known = json.loads(store.read_text())["rows"] if store.exists() else {}
    for row in wanted:
        playing = who[:1] if row.model == "devstral-full" else who
        rounds = 1 if row.model == "devstral-full" else arguments.rounds
        outcome = compare(row, playing, files[row.model], rounds, arguments.threads)
        known[row.key] = {**asdict(outcome), "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
        found = {"machine": asdict(machine), "threads": arguments.threads, "rows": known}
        store.write_text(json.dumps(found, indent=2))
    write_report(folder, arguments.results)


def _default_model() -> Path:
    from cierzo.model.fetch.registry import resolve

    return resolve("smollm2-135m").path


def _two_layers(folder: Path) -> Path:
    from benchmarks.make_checkpoint import Geometry, write_checkpoint

    path = folder / "devstral-2-layers-Q4_K_M.gguf"
    if not path.exists():
        write_checkpoint(path, Geometry(num_hidden_layers=2), "Q4_K_M")
    return path


if __name__ == "__main__":
    main()
