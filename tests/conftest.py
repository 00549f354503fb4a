"""What holds for every test: no settings of the machine's, no processes left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from cierzo.settings import OTHER_VARIABLES, PREFIX

_PR_SET_CHILD_SUBREAPER = 36
_SECONDS_TO_END = 60.0  # on the slowest machine; what is left behind stays for good

# An example may take as long as it takes: how fast this machine is shows nothing.
settings.register_profile(
    "any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("any speed")


# These compare with transformers and torch: the extra `parity`.
_COMPARED = (
    "chat/templates/test_jinja_template.py",
    "chat/templates/test_smollm2.py",
    "chat/tokenizers/test_tokenizer.py",
    "model/test_parity.py",
    "model/test_rope.py",
)
_left_out = [name for name in ("torch", "transformers") if find_spec(name) is None]
collect_ignore = list(_COMPARED) if _left_out else []


def pytest_report_header() -> str | None:
    """Says what is not run."""
    if not _left_out:
        return None
    missing = " and ".join(_left_out)
    return f"left out without {missing} (`make test` installs them): {', '.join(_COMPARED)}"


def pytest_configure() -> None:
    """Orphans of a test's child processes become ours, so that they are seen.

    And Ctrl-C works in what tests start, even where a shell began the run in the background and
    with that had it ignored.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A developer's own settings and terminal change no result."""
    for name in list(os.environ):
        if name.startswith(PREFIX) and name not in OTHER_VARIABLES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(autouse=True, scope="session")
def _no_cache_of_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Engines in this process keep nothing in the user's folder."""
    from cierzo.engine.cache.disk import folders, opening

    default, folder = folders.default_folder, tmp_path_factory.mktemp("kv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "default_folder", lambda path: default(path or str(folder)))
        yield


@pytest.fixture(autouse=True)
def _no_processes_left() -> Iterator[None]:
    """Fails a test after which a process still runs that it started."""
    before = _children()
    yield
    deadline = time.monotonic() + _SECONDS_TO_END
    while left := _children() - before:
        if time.monotonic() > deadline:
            pytest.fail(f"processes left behind: {', '.join(_describe(pid) for pid in left)}")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def default_model() -> Path:
    """The default model's file; `make test` has fetched it."""
    from cierzo.model.fetch.registry import resolve

    return resolve("smollm2-135m").path


def _children() -> set[int]:
    """Direct children that run. Those of multiprocessing's own keeping live as long as we do."""
    found: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            found.update(int(pid) for pid in task.read_text().split())
        except OSError:
            continue  # the thread has ended
    return {pid for pid in found if _runs(pid)}


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX" and "multiprocessing" not in _describe(pid)


def _describe(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        command = ""
    return f"{pid} {command[:120]}".strip()
