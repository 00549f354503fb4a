"""A repository with one failing test, and an agent that is let loose on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ENVIRONMENTS = Path(__file__).parents[2] / ".venv-agents"
TASK = "The test in test_clock.py fails. Find the mistake in clock.py and mend it."
AGENT_SECONDS = 240

CODE = '''\
def minutes(clock):
    """Minutes since midnight of a time such as "9:30"."""
    hours, rest = clock.split(":")
    return int(hours) * 100 + int(rest)
'''
MENDED = CODE.replace("* 100", "* 60")
TEST = """\
from clock import minutes


def test_half_past_nine():
    assert minutes("9:30") == 570
"""


def installed(agent: str, command: str) -> Path:
    """The agent's command in the environment that `make test-agents` makes for it."""
    path = ENVIRONMENTS / agent / "bin" / command
    if not path.exists():
        pytest.skip(f"{agent} is not installed; `make test-agents` does that")
    return path


def write_repository(folder: Path) -> Path:
    folder.mkdir()
    (folder / "clock.py").write_text(CODE, encoding="utf-8")
    (folder / "test_clock.py").write_text(TEST, encoding="utf-8")
    for arguments in (
        ["init", "--quiet"],
        ["add", "."],
        ["commit", "--quiet", "--message", "A clock"],
    ):
        identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
        _run(["git", *identity, *arguments], folder, {}).check_returncode()
    return folder


def passes(repository: Path) -> bool:
    """Whether the repository's test passes; it must run, one way or the other."""
    ran = _run([sys.executable, "-m", "pytest", "-q", "test_clock.py"], repository, {})
    assert ran.returncode in (0, 1), ran.stdout
    return ran.returncode == 0


def changed_files(repository: Path) -> list[str]:
    """Files that differ from the commit, new ones too; what Python caches is none."""
    status = _run(["git", "status", "--porcelain", "--untracked-files=all"], repository, {})
    names = [line[3:] for line in status.stdout.splitlines()]
    return [name for name in names if "cache" not in name]


def run_agent(
    command: Sequence[str | Path], repository: Path, home: Path, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs an agent in the repository until it ends; `python` is the one with pytest."""
    home.mkdir(exist_ok=True)
    return _run([str(part) for part in command], repository, {"HOME": str(home), **variables})


def _run(
    command: Sequence[str], folder: Path, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """With nothing of the developer's own environment but where programs are."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LANG": "C.UTF-8",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
    }
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=AGENT_SECONDS,
        check=False,
    )
