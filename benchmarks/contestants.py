"""Who runs in a comparison and how each is run: one process, one measurement, tokens a second."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_HERE = Path(__file__).parent
_TIME_LIMIT_SECONDS = 1800


class Failed(Exception):
    """A contestant could not run this model; the text says why in one line."""


@dataclass(frozen=True)
class Speed:
    """Tokens a second; 0 for a part that was not asked for. `extra` holds what else was printed."""

    prefill_tps: float
    decode_tps: float
    extra: Mapping[str, float]


class Contestant(Protocol):
    """Something that can run a GGUF file."""

    @property
    def name(self) -> str:
        """The name used in the results."""

    def command(self, model: Path, prompt: int, output: int, threads: int) -> list[str]:
        """The command that measures `prompt` tokens of prefill, then `output` decoded tokens."""

    def read(self, printed: str) -> Speed:
        """Makes sense of what the command printed."""


def measure(contestant: Contestant, model: Path, prompt: int, output: int, threads: int) -> Speed:
    """Runs one measurement in a process of its own. Raises `Failed`."""
    command = contestant.command(model, prompt, output, threads)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIME_LIMIT_SECONDS, check=False
        )
    except OSError as error:
        raise Failed(f"{command[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Failed(f"took longer than {_TIME_LIMIT_SECONDS} s") from error
    try:
        return contestant.read(done.stdout)
    except (ValueError, KeyError, IndexError) as error:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"exit status {done.returncode}, no output"
        raise Failed(reason[:200]) from error


@dataclass(frozen=True)
class Cierzo:
    """Ourselves, through `cierzo bench latency`."""

    name: str = "cierzo"
    extra: tuple[str, ...] = ()

    def command(self, model: Path, prompt: int, output: int, threads: int) -> list[str]:
        sizes = ["--prompt-tokens", str(max(1, prompt)), "--output-tokens", str(max(1, output))]
        program = str(Path(sys.executable).with_name("cierzo"))
        command = [program, "bench", "latency", str(model), *sizes]
        return [*command, "--threads", str(threads), "--repeat", "1", "--json", *self.extra]

    def read(self, printed: str) -> Speed:
        return _read_json(printed)


@dataclass(frozen=True)
class Worker:
    """A peer with a Python of its own, through one of the worker scripts beside this file."""

    name: str
    python: str
    script: str
    arguments: tuple[str, ...] = ()

    def command(self, model: Path, prompt: int, output: int, threads: int) -> list[str]:
        sizes = [str(prompt), str(output), str(threads)]
        return [self.python, str(_HERE / self.script), *self.arguments, str(model), *sizes]

    def read(self, printed: str) -> Speed:
        return _read_json(printed)


@dataclass(frozen=True)
class LlamaBench:
    """Any `llama-bench` binary: llama.cpp's, ik_llama.cpp's. It decodes from an empty context."""

    name: str
    binary: str
    extra: tuple[str, ...] = ()

    def command(self, model: Path, prompt: int, output: int, threads: int) -> list[str]:
        sizes = ["-p", str(prompt), "-n", str(output), "-t", str(threads)]
        return [self.binary, "-m", str(model), *sizes, "-r", "1", "-o", "json", *self.extra]

    def read(self, printed: str) -> Speed:
        entries = json.loads(printed)
        prefill = [float(e["avg_ts"]) for e in entries if e["n_prompt"] and not e["n_gen"]]
        decode = [float(e["avg_ts"]) for e in entries if e["n_gen"] and not e["n_prompt"]]
        if not prefill and not decode:
            raise ValueError("llama-bench reported nothing")
        return Speed(max(prefill, default=0.0), max(decode, default=0.0), {})


def _read_json(printed: str) -> Speed:
    values = json.loads(printed[printed.index("{") :])
    extra = {
        key: float(value)
        for key, value in values.items()
        if key not in ("prefill_tps", "decode_tps") and isinstance(value, int | float)
    }
    # A part that was not asked for may be null.
    return Speed(float(values["prefill_tps"] or 0), float(values["decode_tps"] or 0), extra)


def parse_llama_bench(text: str) -> LlamaBench:
    """Reads `PATH[:NAME[:EXTRA ARGUMENTS]]`, for instance `ik/llama-bench:ik, repacked:-rtr 1`."""
    path, _, rest = text.partition(":")
    name, _, extra = rest.partition(":")
    return LlamaBench(name or Path(path).name, path, tuple(extra.split()))


def contestants(
    llama_cpp_python: str | None,
    openvino_python: str | None,
    llama_bench: Sequence[str],
    *,
    with_cierzo: bool = True,
) -> list[Contestant]:
    """Ourselves first, then every peer that was named."""
    found: list[Contestant] = [Cierzo()] if with_cierzo else []
    if llama_cpp_python:
        script = "llama_cpp_worker.py"
        found.append(Worker("llama-cpp-python", llama_cpp_python, script, ("speed",)))
    if openvino_python:
        found.append(Worker("OpenVINO GenAI", openvino_python, "openvino_worker.py"))
    found.extend(parse_llama_bench(text) for text in llama_bench)
    return found
