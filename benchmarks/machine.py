"""What this machine can do at most: read bandwidth and int8 peak, with one thread and with several.

    python -m benchmarks.machine --threads 2

Compiles probe.cpp with the system's C++ compiler for this very processor.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

_READ_MEGABYTES = 1200


@dataclass(frozen=True)
class Peak:
    """Best of several passes. GB/s are 10^9 bytes a second, GOP/s count a multiply-add as two."""

    threads: int
    plain_gbs: float
    prefetched_gbs: float
    int8_gops: float
    int8_with: str


@dataclass(frozen=True)
class Machine:
    """The processor's name, what it offers, and its peaks."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    peaks: tuple[Peak, ...]


def measure_machine(threads: int) -> Machine:
    """Compiles the probe and run it with 1 and with `threads` threads."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        raise RuntimeError("no C++ compiler found; install one or set CXX to its path")
    counts = sorted({1, threads})
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe"
        source = Path(__file__).with_name("probe.cpp")
        flags = ["-O3", "-std=c++20", "-march=native", "-pthread"]
        subprocess.run([compiler, *flags, str(source), "-o", str(probe)], check=True)
        peaks = tuple(_run(probe, count) for count in counts)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Machine(
        processor=_processor_name(),
        cores=os.cpu_count() or 1,
        memory_gib=round(memory, 1),
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        peaks=peaks,
    )


def busy_cores(seconds: float = 1.0) -> float:
    """How many cores other work keeps busy, watched for a while during which we do nothing.

    The load average would not do: it remembers our own last measurement. 0 where the system does
    not tell (no /proc/stat).
    """
    before = _processor_seconds()
    time.sleep(seconds)
    return (_processor_seconds() - before) / seconds


def _processor_seconds() -> float:
    """The processor time used or stolen since the machine started, over all cores."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _idle, _wait, irq, softirq, steal = map(
        int, stat.read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _run(probe: Path, threads: int) -> Peak:
    command = [str(probe), str(threads), str(_READ_MEGABYTES)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Peak(**json.loads(out))


def _processor_name() -> str:
    """Name the processor; with family and model, because virtual machines hide the name."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in info.read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name", platform.machine())
    if "cpu family" in fields and "model" in fields:
        name += f" (family {fields['cpu family']}, model {fields['model']})"
    return name


def main() -> None:
    """Prints the machine as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    print(json.dumps(asdict(measure_machine(parser.parse_args().threads)), indent=2))


if __name__ == "__main__":
    main()
