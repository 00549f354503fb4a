"""Code that many threads may be the first to run."""

from __future__ import annotations

import subprocess
import sys
import textwrap

_SCRIPT = """
import sys, threading
{imports}

sys.setswitchinterval(1e-6)
together = threading.Barrier(8)

def first():
    together.wait()
{work}

threads = [threading.Thread(target=first) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def run_first_at_once(imports: str, work: str, processes: int = 8) -> None:
    """Eight threads do `work` at once, in processes that have done nothing before.

    Raises CalledProcessError for a process that crashes: msgspec does, with SIGSEGV, where two
    threads are the first to read a type that no decoder was made of before.
    """
    script = _SCRIPT.format(imports=imports, work=textwrap.indent(textwrap.dedent(work), "    "))
    for _ in range(processes):
        subprocess.run([sys.executable, "-c", script], check=True)
