"""What a server computed is there for the next one, however the first one ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.api.live import Live, start
from tests.api.test_cache import CHAT, cached, usage


def settings(folder: Path) -> dict[str, Any]:
    return {"engine__kv_cache_disk_gb": 1, "engine__kv_cache_dir": str(folder)}


def until_written(server: Live, blocks: int) -> None:
    server.until("written", lambda: server.metrics()["cierzo_cache_blocks_on_disk"] >= blocks)


@pytest.mark.parametrize("end", ["terminated", "killed", "engine killed"])
def test_a_session_goes_on_after_a_restart(model: Path, tmp_path: Path, end: str) -> None:
    with start(model, **settings(tmp_path)) as server:
        before = usage(server, CHAT)
        if end != "terminated":  # which writes what is left
            until_written(server, before["prompt_tokens"] // 32)
        if end == "engine killed":
            restarts = server.metrics()["cierzo_engine_restarts_total"]
            os.kill(server.engine_pid(), signal.SIGKILL)
            server.until(
                "restarted", lambda: server.metrics()["cierzo_engine_restarts_total"] > restarts
            )
            after = usage(server, CHAT)
            assert cached(after) == before["prompt_tokens"] - 1
            return
        server.signal(signal.SIGKILL if end == "killed" else signal.SIGTERM)
        server.wait()
    with start(model, **settings(tmp_path)) as server:
        assert any("KV cache on disk" in line for line in server.lines)
        after = usage(server, CHAT)
        assert cached(after) == before["prompt_tokens"] - 1
        assert server.metrics()["cierzo_disk_read_bytes_total"] > 0
        assert server.metrics()["cierzo_disk_loads_failed_total"] == 0


def test_delete_deletes_what_is_on_disk(model: Path, tmp_path: Path) -> None:
    with start(model, **settings(tmp_path)) as server:
        before = usage(server, CHAT)
        until_written(server, before["prompt_tokens"] // 32)
        with server.client() as client:
            assert client.delete("/v1/cache").json()["deleted_tokens"] >= before["prompt_tokens"]
    with start(model, **settings(tmp_path)) as server:
        assert cached(usage(server, CHAT)) == 0


def test_a_second_server_does_without_the_disk(model: Path, tmp_path: Path) -> None:
    with start(model, **settings(tmp_path)) as first, start(model, **settings(tmp_path)) as second:
        for server in (first, second):
            usage(server, CHAT)
        second.until("told", lambda: any("no KV cache on disk" in line for line in second.lines))
        assert second.metrics()["cierzo_cache_blocks_on_disk"] == 0
        until_written(first, 1)
