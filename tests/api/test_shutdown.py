"""How the server begins and ends: loading, signals, engines that cannot be had."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.api.live import HELLO, NO_END, ROOT, Live, send_chat, start
from tests.api.openai.test_structured_output import wanted

ENDLESS: dict[str, Any] = {"messages": HELLO, "max_tokens": 30_000, "logit_bias": NO_END}


def begin(server: Live, connection: socket.socket, **fields: Any) -> None:
    """A request whose answer is under way."""
    send_chat(connection, {**ENDLESS, **fields})
    server.until("running", lambda: server.metrics()["cierzo_requests_running"] >= 1)


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while chunk := connection.recv(65_536):
        data += chunk
    return data


def is_gone(pid: int) -> bool:
    """Whether a process has ended. One that nobody has waited for yet has."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return "State:\tZ" in status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_idle_server_ends_at_once(model: Path, number: signal.Signals) -> None:
    with start(model) as server:
        engine = server.engine_pid()
        server.signal(number)
        assert server.wait() == 0
        assert is_gone(engine)
        assert not [line for line in server.lines if "Traceback" in line]


def test_running_requests_finish_and_new_ones_are_refused(model: Path) -> None:
    with start(model) as server, server.connect() as connection, server.client() as client:
        client.get("/health")  # connected before the end begins
        begin(server, connection, max_tokens=1500)
        server.signal(signal.SIGTERM)
        server.until("stopping", lambda: client.get("/health").json()["status"] == "stopping")
        refused = client.post("/v1/chat/completions", json={"messages": HELLO})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "shutting_down"
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b'"completion_tokens":1500' in answer
        assert server.wait() == 0


def test_what_outlasts_the_grace_period_gets_an_error(model: Path) -> None:
    with (
        start(model, server__grace_seconds=0.5) as server,
        server.connect() as whole,
        server.connect() as streamed,
    ):
        begin(server, whole)
        begin(server, streamed, stream=True)
        streamed.recv(1, socket.MSG_PEEK)  # the other one was running before
        engine = server.engine_pid()
        server.signal(signal.SIGTERM)
        assert read_all(whole).startswith(b"HTTP/1.1 503 ")
        assert b'"finish_reason":"error"' in read_all(streamed)
        assert server.wait() == 0
        assert is_gone(engine)


def test_a_second_signal_ends_at_once(model: Path) -> None:
    with start(model, server__grace_seconds=600) as server, server.connect() as connection:
        begin(server, connection)
        engine = server.engine_pid()
        server.signal(signal.SIGINT)
        server.until("told", lambda: any("once more" in line for line in server.lines))
        server.signal(signal.SIGINT)
        assert server.wait() == 130
        assert is_gone(engine)


def test_the_end_does_not_wait_for_values_that_are_verified(model: Path) -> None:
    """Each of these takes seconds of checks, on threads of the engine, and finds no answer."""
    never = {"type": "array", "items": {"allOf": [{"enum": [1, 2, 3]}] * 3_000}, "contains": False}
    body = {"response_format": wanted({**never, "minItems": 9, "maxItems": 12}), "max_tokens": 900}
    with start(model, server__grace_seconds=0.5) as server, ExitStack() as held:
        connections = [held.enter_context(server.connect()) for _ in range(6)]
        for seed, connection in enumerate(connections):
            send_chat(connection, {"messages": HELLO, **body, "seed": seed})
        server.until("running", lambda: server.metrics()["cierzo_requests_running"] >= 4)
        engine = server.engine_pid()
        server.signal(signal.SIGTERM)
        for connection in connections:
            answer = read_all(connection)
            assert answer[:12] in (b"HTTP/1.1 503", b"HTTP/1.1 422"), answer
        assert server.wait() == 0
        assert is_gone(engine)
    assert not [line for line in server.lines if "Traceback" in line]


def test_the_engine_does_not_outlive_a_killed_server(model: Path) -> None:
    with start(model) as server:
        engine = server.engine_pid()
        server.signal(signal.SIGKILL)
        server.wait()
        server.until("gone", lambda: is_gone(engine))


def test_a_model_that_cannot_be_loaded(tmp_path: Path, model: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    with start(cut, wait_ready=False) as server:
        assert server.wait() == 1
    assert server.url == ""
    assert any("cut.gguf" in line for line in server.lines)
    assert not [line for line in server.lines if "Traceback" in line]


def test_an_address_that_is_taken(model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with start(model, wait_ready=False, server__port=port) as server:
            assert server.wait() == 1
    assert any("cannot listen" in line and "--port" in line for line in server.lines)


def test_health_answers_while_the_model_loads(model: Path) -> None:
    with start(model, wait_ready=False) as server:
        status, state = server.health()
        assert (status, state) in [(503, "loading"), (200, "ready")]
        server.until("ready", server.is_ready)
        assert server.chat(max_tokens=1).status_code == 200


def test_an_engine_that_keeps_dying_is_replaced_every_time(model: Path) -> None:
    """What kills it may be a request, whose sender must not be able to end the server."""
    with start(model) as server:
        seen: set[int] = set()
        while len(seen) < 4:
            server.until("ready", server.is_ready)
            pid = server.engine_pid()
            assert pid not in seen
            seen.add(pid)
            os.kill(pid, signal.SIGKILL)
            server.until("noticed", lambda: server.health()[1] != "ready")
        server.until("ready", server.is_ready)
        assert server.chat(max_tokens=1).status_code == 200


def test_an_engine_that_cannot_be_started_any_more_ends_the_server(
    tmp_path: Path, model: Path
) -> None:
    copy = tmp_path / "copy.gguf"
    shutil.copy(model, copy)
    with start(copy) as server:
        copy.unlink()
        os.kill(server.engine_pid(), signal.SIGKILL)
        assert server.wait() == 1
    assert any("copy.gguf" in line for line in server.lines[4:])
    assert not [line for line in server.lines if "Traceback" in line]


def test_what_is_wrong_is_said_before_the_address(model: Path) -> None:
    """A context beyond the checkpoint's, a cache that does not fit: nobody may connect first."""
    for wrong, words in (
        ({"engine__max_model_len": 131_072}, "--max-model-len 131072 is more than the context"),
        ({"engine__kv_cache_memory_mb": 16_000_000}, "--kv-cache-memory-mb 16000000"),
    ):
        with start(model, wait_ready=False, **wrong) as server:
            assert server.wait() == 1
        assert server.url == ""
        assert len(server.lines) == 1
        assert words in server.lines[0]


def test_it_ends_although_nobody_reads_what_it_says(model: Path) -> None:
    """As behind `2>&1 | head`."""
    flags = {"server.port": 0, "engine.threads": 1, "engine.kv_cache_memory_mb": 72}
    flags["engine.kv_cache_disk_gb"] = 0
    command = [sys.executable, "-m", "tests.api.serve", str(model), json.dumps(flags)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "is ready" not in process.stderr.readline():
            assert process.poll() is None
        process.stderr.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(240) == 0
