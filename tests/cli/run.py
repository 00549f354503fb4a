"""Runs the `cierzo` command as a person does: as a program, in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMAND = (sys.executable, "-c", "from cierzo.cli.main import main; main()")
# No command keeps anything in the user's folder.
NO_DISK = {"CIERZO_KV_CACHE_DISK_GB": "0"}
SECONDS = 500  # only a command that hangs takes so long, on any machine


def cierzo(
    *arguments: str, cwd: Path, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """What the command printed, and its exit code. The home folder is `cwd` too.

    The caches stay where they are, so that the default model is there.
    """
    home = Path.home()
    kept = {
        "CIERZO_CACHE": os.environ.get("CIERZO_CACHE", str(home / ".cache" / "cierzo")),
        "HF_HOME": os.environ.get("HF_HOME", str(home / ".cache" / "huggingface")),
    }
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env={**os.environ, **kept, **NO_DISK, "HOME": str(cwd), **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
