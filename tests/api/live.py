"""A server of the tests' own: a process with its engine process, on a small random model."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
# How long anything may take before it counts as hanging. No test that passes waits so long.
HANGS_SECONDS = 240.0
EOS = 2  # of the small model's vocabulary
NO_END = {str(EOS): -100, "0": -100}  # logit_bias that keeps an answer going
HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]


@dataclass
class Live:
    """A running server."""

    process: subprocess.Popen[str]
    url: str
    # What it said, complete once it has ended.
    lines: list[str] = field(default_factory=list, repr=False)
    reader: threading.Thread | None = None
    killed: bool = False  # by its test

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=HANGS_SECONDS, **options)

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        with self.client() as client:
            return client.post(path, json=body, **options)

    def chat(self, **fields: Any) -> httpx.Response:
        return self.post("/v1/chat/completions", {"messages": HELLO, **fields})

    def health(self) -> tuple[int, str]:
        with self.client() as client:
            response = client.get("/health")
        return response.status_code, response.json()["status"]

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.ConnectError):
            return self.health() == (200, "ready")
        raise AssertionError(self.lines)

    def metrics(self) -> dict[str, float]:
        """Samples by name and labels, as written."""
        with self.client() as client:
            text = client.get("/metrics").text
        samples = (line.rpartition(" ") for line in text.splitlines() if line[:1] != "#")
        return {name: float(value) for name, _, value in samples}

    def until(self, what: str, found: Any, seconds: float = HANGS_SECONDS) -> None:
        """Waits until `found()` is true; fails with what is awaited and the server's words."""
        end = time.monotonic() + seconds
        while not found():
            assert time.monotonic() < end, f"not {what} after {seconds} s: {self.lines}"
            time.sleep(0.02)

    def until_idle(self) -> None:
        """Waits until no request runs and no block is in use."""

        def idle() -> bool:
            now = self.metrics()
            return now["cierzo_requests_running"] == now["cierzo_cache_blocks_used"] == 0

        self.until("idle", idle)

    def engine_pids(self) -> list[int]:
        """The server's child processes."""
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            return [int(pid) for pid in children.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            return []

    def engine_pid(self) -> int:
        (pid,) = self.engine_pids()
        return pid

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=HANGS_SECONDS)

    def signal(self, number: signal.Signals) -> None:
        self.killed |= number == signal.SIGKILL
        self.process.send_signal(number)

    def wait(self, seconds: float = HANGS_SECONDS) -> int:
        """Its exit code."""
        code = self.process.wait(seconds)
        if self.reader is not None:
            self.reader.join()
        return code


def chat_request(body: dict[str, Any]) -> bytes:
    """A chat request as it goes over the wire."""
    data = json.dumps(body).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data
    )


def send_chat(connection: socket.socket, body: dict[str, Any]) -> None:
    """Sends a chat request and leaves its answer unread."""
    connection.sendall(chat_request(body))


@contextmanager
def start(
    model: Path, *, wait_ready: bool = True, files: int | None = None, **settings: Any
) -> Iterator[Live]:
    """A server on any free port. Settings by key, with `__` for the dot.

    `files` is how many file descriptors it may have; by default as many as these tests.
    """
    flags = {"server.port": 0, "engine.threads": 1, "engine.kv_cache_memory_mb": 72}
    flags |= {"engine.kv_cache_disk_gb": 0}  # unless a test asks for it, with a folder of its own
    flags |= {key.replace("__", "."): value for key, value in settings.items()}
    command = [sys.executable, "-m", "tests.api.serve", str(model), json.dumps(flags)]
    if files is not None:
        command = ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh", *command]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    live = Live(process, "")
    addressed = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            live.lines.append(line.rstrip())
            if match := re.search(r"listening on (http://[^\s\"]+)", line):
                live.url = match[1]
                addressed.set()
        addressed.set()

    live.reader = threading.Thread(target=read, daemon=True)
    live.reader.start()
    try:
        assert addressed.wait(HANGS_SECONDS)
        if wait_ready:
            assert live.url, live.lines
            live.until("ready", live.is_ready, HANGS_SECONDS)
        yield live
    finally:
        ended = process.poll()
        if ended is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(HANGS_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        live.reader.join()
        assert process.stderr is not None
        process.stderr.close()
        if ended is not None and ended < 0 and not live.killed:
            raise AssertionError(f"the server ended by signal {-ended}: {live.lines}")
