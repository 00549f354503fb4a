"""The NEON kernels, and the choice among them: cross-compiled, and run by QEMU.

Debian and Ubuntu have what this needs in `g++-aarch64-linux-gnu` and `qemu-user-static`; without
them it is skipped. `sets/` is the program: products, attention, norms and sampling, held against
the portable kernels, whose own tests are in Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "sets"
COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = "qemu-aarch64-static"
# What processors have, by QEMU's names for them: all that there is; dot products; neither.
SETS = {
    "max": ["i8mm", "dotprod", "portable"],
    "neoverse-n1": ["dotprod", "portable"],
    "cortex-a72": ["portable"],
}
BUILD_SECONDS = 1500
RUN_SECONDS = 500

_missing = [tool for tool in (COMPILER, EMULATOR) if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(BUILD_SECONDS + RUN_SECONDS),
    pytest.mark.skipif(bool(_missing), reason=f"not installed: {', '.join(_missing)}"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    configure = ["cmake", "-S", str(SOURCES), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release"]
    target = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
    compiler = [f"-DCMAKE_CXX_COMPILER={COMPILER}"]
    for command in ([*configure, *target, *compiler], ["cmake", "--build", str(folder)]):
        done = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=BUILD_SECONDS,
        )
        assert done.returncode == 0, done.stdout
        assert "warning:" not in done.stdout, done.stdout
    return folder / "compare_sets"


def _run(program: Path, processor: str, isa: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EMULATOR, "-cpu", processor, str(program)],
        env=os.environ | {"CIERZO_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS,
    )


@cache
def _findings(program: Path, processor: str, isa: str = "") -> dict[str, str]:
    done = _run(program, processor, isa)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("processor", SETS)
def test_a_processor_gets_the_best_set_that_it_has(program: Path, processor: str) -> None:
    findings = _findings(program, processor)
    assert findings["sets"].split() == SETS[processor]
    assert findings["active"] == SETS[processor][0]


@pytest.mark.parametrize("processor", SETS)
def test_kernels_agree_with_the_portable_ones(program: Path, processor: str) -> None:
    findings = _findings(program, processor)
    assert findings["failures"] == "0"
    assert int(findings["comparisons"]) > 5_000


def test_both_neon_sets_have_the_same_bits(program: Path) -> None:
    """They differ in how exact sums are made, and in nothing else."""
    bits = _findings(program, "max")["bits"]
    assert _findings(program, "max", "dotprod")["bits"] == bits
    assert _findings(program, "max", "portable")["bits"] != bits


def test_a_set_that_the_processor_lacks_is_refused(program: Path) -> None:
    done = _run(program, "neoverse-n1", "i8mm")
    assert done.returncode == 2
    assert "CIERZO_ISA=i8mm is not available" in done.stdout
    assert "dotprod, portable" in done.stdout
