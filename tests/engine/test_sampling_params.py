"""Parameters are checked by many threads, from the first request on."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import sys, threading
from cierzo.engine.sampling_params import SamplingParams, validate

sys.setswitchinterval(1e-6)
together = threading.Barrier(8)

def first():
    together.wait()
    validate(SamplingParams(), 100)

threads = [threading.Thread(target=first) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_the_first_requests_may_come_at_once() -> None:
    """A process ended by SIGSEGV two times in five where the type was described then."""
    for _ in range(8):
        subprocess.run([sys.executable, "-c", _SCRIPT], check=True)
