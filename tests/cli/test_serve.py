"""`cierzo serve`: what it says, how it ends, and that the environment and flags reach it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.run import COMMAND, NO_DISK, cierzo

SMALL = ("--threads", "1", "--kv-cache-memory-mb", "72", "--max-model-len", "1024")


@contextmanager
def serving(*arguments: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """The process, its address, and what it said until it was ready."""
    process = subprocess.Popen(
        [*COMMAND, "serve", *arguments, "--port", "0"],
        cwd=cwd,
        env={**os.environ, **NO_DISK},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if "is ready" in line:
                said += [process.stderr.readline(), process.stderr.readline()]
                break
        found = re.search(r"listening on (http://\S+)", "".join(said))
        assert found, said
        yield process, found[1], said
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(240)
        process.stderr.close()


def post(url: str, body: Any, **headers: str) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, timeout=240) as response:
        return json.load(response)


def test_it_says_what_it_serves_and_a_curl_line_that_works(model: Path, tmp_path: Path) -> None:
    with serving(str(model), *SMALL, cwd=tmp_path) as (process, url, said):
        text = "".join(said)
        assert str(model) in text
        assert "KV cache" in text
        assert "1024 a request" in text
        assert re.search(r"cpu \(\w+, 1 thread\)", text)
        curl = text[text.index("  curl ") :].replace("\\\n", " ")
        done = subprocess.run(
            curl, shell=True, capture_output=True, text=True, timeout=240, check=True
        )
        answer = json.loads(done.stdout)
        assert answer["object"] == "chat.completion"
        assert answer["model"] == "tiny"
        process.send_signal(signal.SIGTERM)
        assert process.wait(240) == 0
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=5)


def test_settings_come_from_the_file_too(model: Path, tmp_path: Path) -> None:
    (tmp_path / "cierzo.toml").write_text(
        f'model = "{model}"\n[server]\napi_keys = ["open sesame"]\n'
        "[engine]\nthreads = 1\nkv_cache_memory_mb = 72\nmax_model_len = 512\n"
    )
    with serving(cwd=tmp_path) as (_, url, said):
        assert "512 a request" in "".join(said)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            post(f"{url}/v1/completions", {"prompt": "Hi", "max_tokens": 1})
        body = {"prompt": "Hi", "max_tokens": 1}
        answer = post(f"{url}/v1/completions", body, Authorization="Bearer open sesame")
        assert answer["usage"]["completion_tokens"] == 1


def test_names_and_keys_come_from_options(model: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("from a file\n")
    options = ("--alias", "one", "--alias", "two,author/three", "--api-key-file", "keys")
    with serving(str(model), *options, "--api-key", "k1", *SMALL, cwd=tmp_path) as (_, url, _said):
        for name, key in (("one", "k1"), ("two", "from a file"), ("author/three", "k1")):
            body = {"model": name, "prompt": "Hi", "max_tokens": 1}
            answer = post(f"{url}/v1/completions", body, Authorization=f"Bearer {key}")
            assert answer["model"] == "tiny"


def test_a_server_open_to_a_network_needs_a_key_or_a_word(model: Path, tmp_path: Path) -> None:
    """It is refused before anything is fetched or loaded."""
    done = cierzo("serve", "no-such-model", "--host", "0.0.0.0", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "CIERZO_API_KEY" in done.stderr
    with serving(str(model), "--host", "0.0.0.0", "--insecure", *SMALL, cwd=tmp_path) as (
        _,
        url,
        _,
    ):
        port = url.rpartition(":")[2]
        body = {"prompt": "Hi", "max_tokens": 1}
        answer = post(f"http://127.0.0.1:{port}/v1/completions", body)
        assert answer["usage"]["completion_tokens"] == 1


def test_a_key_file_that_is_not_there_is_one_line(model: Path, tmp_path: Path) -> None:
    done = cierzo("serve", str(model), "--api-key-file", "missing", "--port", "0", cwd=tmp_path)
    assert done.returncode == 2
    assert "server.api_key_file: missing: cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_in_use_is_one_line(model: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = cierzo("serve", str(model), "--port", str(port), cwd=tmp_path)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_context_that_does_not_fit_is_refused_with_the_numbers(
    model: Path, tmp_path: Path
) -> None:
    small = ("--kv-cache-memory-mb", "1", "--port", "0")
    done = cierzo("serve", str(model), *small, cwd=tmp_path)
    assert done.returncode == 1
    assert "--max-model-len" in done.stderr
    assert "Traceback" not in done.stderr
