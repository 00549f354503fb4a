"""Serves requests of chance for a long while, many of them broken off, and watches what is kept.

    python -m benchmarks.soak --minutes 20 [--seed 7] [--clients 8]

After each round everybody lets go: no request and no block of the cache may stay in use. Tasks,
descriptors, threads and memory must not get beyond what they were in the first half, when pools
and caches, which have bounds, have filled. One question is asked in every rest, and must have the
same answer each time. Exits with 1, and says what grew, when anything did.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import random
import shlex
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bystander import JSON, serving
from benchmarks.hostile import words

ROUND_SECONDS = 20.0
REST_SECONDS = 120.0  # the longest that letting go may take
ANSWER_SECONDS = 300.0
EXPECTED = (200, 400, 422, 429, 503)

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "size": {"enum": [1, 2, 3]}},
    "required": ["city", "size"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": CITY}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}


@dataclass(frozen=True)
class Kept:
    """What the server holds while nobody asks anything."""

    requests: int
    blocks: int
    tasks: int
    descriptors: int
    threads: int
    server_mb: float
    engine_mb: float


@dataclass
class Soak:
    """The clients' common tally."""

    port: int
    until: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        """One more of this outcome."""
        with self.lock:
            self.statuses[what] += 1


def request(chance: random.Random) -> tuple[str, dict[str, Any]]:
    """A path and a body of any kind that agents and people send, small or not so small."""
    text = words(int(10 ** chance.uniform(0.5, 3)), chance.randrange(10**6))
    common: dict[str, Any] = {
        "max_tokens": int(10 ** chance.uniform(0, 2.3)),
        "temperature": chance.choice((0, 0.7, 1.5)),
        "stream": chance.random() < 0.6,
    }
    if common["temperature"]:
        common["seed"] = chance.randrange(2**31)
    if chance.random() < 0.2:
        common["stop"] = [chance.choice(("the", "\n\n", " a"))]
    if chance.random() < 0.15:
        path = "/v1/completions"
        prompt: Any = [text, "and"] if chance.random() < 0.5 else text
        return path, common | {"prompt": prompt, "n": chance.choice((1, 1, 2))}
    extra: dict[str, Any] = chance.choice(
        (
            {},
            {},
            {"n": chance.randint(2, 4)},
            {"tools": [TOOL]},
            {"tools": [TOOL], "tool_choice": "required"},
            {"response_format": FORMAT},
            {"response_format": {"type": "json_object"}, "n": 2},
            {"logprobs": True, "top_logprobs": 5},
            {"messages": "nonsense"},
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "gone"}}},
        )
    )
    return "/v1/chat/completions", {
        "messages": [{"role": "user", "content": text}]
    } | common | extra


def whole(soak: Soak, path: str, body: bytes) -> None:
    """A client that waits for all of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", soak.port, timeout=ANSWER_SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", path, body, JSON)
        response = connection.getresponse()
        answer = response.read()
    fault = response.status == 200 and b'"code":5' in answer
    soak.count("error in a stream" if fault else str(response.status))


def broken_off(soak: Soak, path: str, body: bytes, chance: random.Random) -> None:
    """A client that goes away at any moment: in its request, before the answer, or within it."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    data = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with socket.create_connection(("127.0.0.1", soak.port), timeout=ANSWER_SECONDS) as connection:
        if chance.random() < 0.1:
            data = data[: chance.randrange(len(data))]
        connection.sendall(data)
        time.sleep(chance.choice((0, chance.uniform(0, 0.2), chance.uniform(0, 2))))
        if chance.random() < 0.3:
            connection.shutdown(socket.SHUT_WR)
        if chance.random() < 0.5:
            connection.recv(chance.choice((1, 1_000, 20_000)), socket.MSG_DONTWAIT)
        if chance.random() < 0.5:  # a reset in place of an orderly end
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    soak.count("broken off")


def client(soak: Soak, chance: random.Random) -> None:
    """One after the other until the round ends."""
    while time.monotonic() < soak.until:
        path, fields = request(chance)
        body = json.dumps(fields).encode()
        try:
            if chance.random() < 0.5:
                whole(soak, path, body)
            else:
                broken_off(soak, path, body, chance)
        except BlockingIOError:
            soak.count("broken off")  # it left before a byte had come
        except (OSError, http.client.HTTPException) as error:
            soak.count(f"{type(error).__name__}: {error}"[:60])


def metrics(port: int) -> dict[str, float]:
    """The server's own numbers, by name."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    lines = (line.rpartition(" ") for line in text.splitlines() if line[:1] != "#")
    return {name: float(value) for name, _, value in lines}


def probe(port: int) -> str:
    """The answer to a question that is asked again and again."""
    fields = {"messages": [{"role": "user", "content": "Tell me of winds."}], "max_tokens": 24}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    with contextlib.closing(connection):
        body = json.dumps(fields | {"temperature": 1, "seed": 5})
        connection.request("POST", "/v1/chat/completions", body, JSON)
        answer = json.loads(connection.getresponse().read())
    return str(answer["choices"][0]["message"]["content"])


def in_rounds(
    soak: Soak, pid: int, minutes: float, round_seconds: float, work: Sequence[Callable[[], None]]
) -> tuple[set[str], list[Kept]]:
    """Lets clients work, and rest after each round; answers to the question, and what was kept."""
    answers = {probe(soak.port)}
    rests: list[Kept] = []
    end = time.monotonic() + minutes * 60
    while time.monotonic() < end:
        soak.until = time.monotonic() + round_seconds
        threads = [threading.Thread(target=one) for one in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answers.add(probe(soak.port))
        rests.append(rest(soak.port, pid))
        print(rests[-1], dict(soak.statuses), flush=True)
    return answers, rests


def tell(soak: Soak, minutes: float) -> None:
    """Prints what became of all requests."""
    print(f"{sum(soak.statuses.values()):,} requests in {minutes:g} minutes:", end=" ")
    print(", ".join(f"{count:,} x {what}" for what, count in soak.statuses.most_common()))


def rest(port: int, pid: int) -> Kept:
    """What is kept once everybody has let go, or after as long as that may take."""
    end = time.monotonic() + REST_SECONDS
    before: list[int] = []
    while True:
        now = metrics(port)
        kept = look(now, pid)
        counts = [kept.tasks, kept.descriptors, kept.threads]
        if (kept.requests == kept.blocks == 0 and counts == before) or time.monotonic() > end:
            return kept
        before = counts
        time.sleep(1)


def look(now: dict[str, float], pid: int) -> Kept:
    """The server's numbers and the kernel's."""
    processes = [pid, *children(pid)]
    status = [Path(f"/proc/{one}/status").read_text() for one in processes]
    memory = [int(text.partition("VmRSS:")[2].split()[0]) / 1024 for text in status]
    return Kept(
        requests=int(now["cierzo_requests_running"] + now["cierzo_requests_waiting"]),
        blocks=int(now["cierzo_cache_blocks_used"]),
        tasks=int(now["cierzo_server_tasks"]),
        descriptors=sum(len(list(Path(f"/proc/{one}/fd").iterdir())) for one in processes),
        threads=sum(int(text.partition("Threads:")[2].split()[0]) for text in status),
        server_mb=round(memory[0], 1),
        engine_mb=round(sum(memory[1:]), 1),
    )


def children(pid: int) -> Iterator[int]:
    """The engine's process."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            yield from map(int, (task / "children").read_text().split())


def faults(
    rests: list[Kept], soak: Soak, answers: set[str], restarts: float, memory_slack: float
) -> list[str]:
    """What a server that can run for ever does not show. Memory may grow by so much of it."""
    found = [f"answers of {status}" for status in soak.statuses if status not in _FINE]
    if len(answers) > 1:
        found.append(f"{len(answers)} different answers to the same question")
    if restarts:
        found.append(f"{restarts:.0f} engines replaced")
    if any(kept.requests or kept.blocks for kept in rests):
        found.append("requests or blocks of the cache are never let go")
    half, quarter = -(-len(rests) // 2), -(-len(rests) // 4)
    slacks = dict.fromkeys(_COUNTED, 0.0) | dict.fromkeys(_MEMORY, memory_slack)
    for name, slack in slacks.items():
        kept = [getattr(one, name) for one in rests]
        early, late = max(kept[:half]), max(kept[-quarter:])
        if late > early * (1 + slack):
            found.append(f"{name} grew from {early} to {late}")
    return found


_COUNTED = ("tasks", "descriptors", "threads")
_MEMORY = ("server_mb", "engine_mb")
MEMORY_SLACK = 0.05  # the allocator's own ups and downs
_FINE = ("broken off", *map(str, EXPECTED))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--server", default=str(Path(sys.executable).with_name("cierzo")))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    chances = [random.Random(options.seed + i) for i in range(options.clients)]
    with serving(shlex.split(options.server), options.model) as (port, pid):
        soak = Soak(port)
        work = [partial(client, soak, chance) for chance in chances]
        answers, rests = in_rounds(soak, pid, options.minutes, ROUND_SECONDS, work)
        found = faults(
            rests, soak, answers, metrics(port)["cierzo_engine_restarts_total"], MEMORY_SLACK
        )
    tell(soak, options.minutes)
    print("\n".join(found) or "nothing grew")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
