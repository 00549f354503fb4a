"""What only Linux can do has a plain substitute elsewhere, as far as that shows without a Mac."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from cierzo.api.http.peer import has_gone
from cierzo.backends.cpu import identity
from cierzo.backends.cpu.threads import default_threads
from cierzo.cli.bench.latency import peak_rss_bytes
from cierzo.engine.loading.memory import available_memory


@pytest.fixture
def macos(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python has it there: what is named is missing."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "sched_getaffinity")
    names = {k: v for k, v in os.confstr_names.items() if not k.startswith("CS_GNU")}
    monkeypatch.setattr(os, "confstr_names", names)
    for name in ("TCP_USER_TIMEOUT", "TCP_INFO", "AF_NETLINK"):
        monkeypatch.delattr(socket, name)


@pytest.mark.usefixtures("macos")
def test_as_many_threads_as_processors() -> None:
    assert default_threads().count == os.cpu_count()


@pytest.mark.usefixtures("macos")
def test_half_of_the_memory_is_taken_for_free(tmp_path: Path) -> None:
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert available_memory(tmp_path) == whole // 2


@pytest.mark.usefixtures("macos")
def test_whether_a_client_has_gone_shows_in_sending_alone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert has_gone(ours) is None


@pytest.mark.usefixtures("macos")
def test_the_system_stands_for_its_library_of_mathematics() -> None:
    assert identity._libc() == " ".join(os.uname())


def test_the_most_memory_is_in_bytes_there_without_a_factor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_proc(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", no_proc)
    here = peak_rss_bytes()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_rss_bytes() * 1024 == pytest.approx(here, rel=0.1)
