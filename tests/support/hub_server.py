"""A small server that speaks as much of the Hugging Face hub's protocol as a download needs.

What huggingface_hub asks for: `GET /api/models/REPO[/revision/REV]` (which commit; names and
sizes), `GET /api/models/REPO/tree/REV` (the same with git or LFS hashes), `HEAD` and `GET
/REPO/resolve/COMMIT/FILE` (ETag, X-Repo-Commit, X-Linked-Size; ranges).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/[^/]+|(/tree)/[^/]+)?")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)")


@dataclass
class Request:
    """One request as the server saw it."""

    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Hub:
    """What the server offers and how it misbehaves. Tests change it while it runs."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commit: str = COMMIT
    token: str | None = None  # needed for every repository when set
    gated: set[str] = field(default_factory=set)
    cut_after: dict[str, int] = field(default_factory=dict)  # file: bytes of the first answer
    stall_after: dict[str, int] = field(default_factory=dict)  # the same, then sends no more
    stalled: threading.Event = field(default_factory=threading.Event)
    broken: int = 0  # a status to answer everything with
    url: str = ""
    requests: list[Request] = field(default_factory=list)

    def downloads(self) -> list[str]:
        """Names of the files sent, in order."""
        return [
            match[2]
            for request in self.requests
            if request.method == "GET" and (match := _FILE.fullmatch(request.path))
        ]


@contextmanager
def serve_hub(hub: Hub) -> Iterator[Hub]:
    """Runs the server on a free port of this machine and sets `hub.url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer()

        def do_HEAD(self) -> None:
            self.answer()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            hub.requests.append(Request(self.command, path, self.headers.get("Range"), token))
            api, file = _API.fullmatch(path), _FILE.fullmatch(path)
            match = api or file
            if hub.broken:
                self.fail(hub.broken, "")
            elif match is None or match[1] not in hub.repos:
                self.fail(401 if token is None else 404, "RepoNotFound")
            elif match[1] in hub.gated and token is None:
                self.fail(401, "GatedRepo")
            elif hub.token is not None and token != hub.token:
                self.fail(401, "RepoNotFound")
            elif api:
                self.send_json(_tree(hub, api[1]) if api[2] else _info(hub, api[1]))
            elif match[2] in hub.repos[match[1]]:
                self.send_file(match[2], hub.repos[match[1]][match[2]])
            else:
                self.fail(404, "EntryNotFound")

        def fail(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def send_json(self, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def send_file(self, name: str, content: bytes) -> None:
            start = 0
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            if wanted:
                start = int(wanted[1])
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            else:
                self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", hub.commit)
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if self.command == "HEAD":
                return
            end = len(content)
            if not wanted and name in hub.cut_after:
                end = hub.cut_after[name]
                self.close_connection = True
            elif not wanted and name in hub.stall_after:
                self.wfile.write(content[: hub.stall_after[name]])
                self.wfile.flush()
                hub.stalled.set()
                self.connection.recv(1)  # until the client is gone
                self.close_connection = True
                return
            self.wfile.write(content[start:end])

    return Handler


def _info(hub: Hub, repo: str) -> dict[str, object]:
    siblings = [
        {"rfilename": entry["path"], "size": entry["size"], "blobId": entry["oid"]}
        | ({"lfs": {"size": entry["size"], "sha256": entry["sha256"], "pointerSize": 135}}
           if "lfs" in entry else {})
        for entry in _tree(hub, repo)
    ]  # fmt: skip
    return {"id": repo, "modelId": repo, "sha": hub.commit, "siblings": siblings, "tags": []}


def _tree(hub: Hub, repo: str) -> list[dict[str, object]]:
    tree: list[dict[str, object]] = []
    for name, content in hub.repos[repo].items():
        digest = hashlib.sha256(content).hexdigest()
        entry: dict[str, object] = {
            "type": "file",
            "path": name,
            "size": len(content),
            "oid": hashlib.sha1(content).hexdigest(),
            "sha256": digest,
        }
        if name.endswith((".safetensors", ".gguf", ".bin")):
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 135}
        tree.append(entry)
    return tree
