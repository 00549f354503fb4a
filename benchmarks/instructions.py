"""Instructions that kernels take on ARM, counted by QEMU: for want of a processor to time.

    python -m benchmarks.instructions

Needs Debian's g++-aarch64-linux-gnu and qemu-user (whose `qemu-aarch64` takes plugins; that of
qemu-user-static does not), and a C compiler for the plugin. `--emulator PATH` names another one.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_SOURCES = Path(__file__).with_name("instructions")
_SETS = ("portable", "dotprod", "i8mm")
# Kinds of work (instructions/work.cpp), and the tokens, or rows, that share it.
_WORK = {"product-1": 1, "product-4": 4, "product-64": 64, "attention-4": 4, "attention-48": 48}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--emulator", default="qemu-aarch64")
    emulator = parser.parse_args().emulator
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program, plugin = _build(folder)
        for work, shared in _WORK.items():
            for isa in _SETS:
                once, twice = (
                    _count([emulator, "-plugin", str(plugin), str(program), work, times], isa)
                    for times in ("1", "2")
                )
                print(f"{work:14} {isa:10} {(twice - once) / shared:14,.0f} each", flush=True)


def _build(folder: Path) -> tuple[Path, Path]:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    target = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
    compiler = ["-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++", "-DCMAKE_BUILD_TYPE=Release"]
    plugin = folder / "plugin.so"
    for command in (
        ["cmake", "-S", str(_SOURCES), "-B", str(folder), *target, *compiler],
        ["cmake", "--build", str(folder)],
        ["cc", "-O2", "-shared", "-fPIC", "-o", str(plugin), str(_SOURCES / "plugin.c")],
    ):
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return folder / "work", plugin


def _count(command: list[str], isa: str) -> int:
    done = subprocess.run(
        [*command[:1], "-cpu", "max", *command[1:]],
        env=os.environ | {"CIERZO_ISA": isa},
        capture_output=True,
        text=True,
        check=True,
    )
    counted = re.search(r"^instructions (\d+)$", done.stderr, re.MULTILINE)
    if counted is None:
        raise RuntimeError(f"{command[0]} counted nothing: {done.stderr}")
    return int(counted[1])


if __name__ == "__main__":
    main()
