"""How long a one-token request waits at worst beside each of the requests in hostile.py.

    python -m benchmarks.bystander [--only brackets] [--save build/benchmarks/bystander.json]
    python -m benchmarks.bystander --server "OLD/.venv/bin/cierzo" --save before.json
    python -m benchmarks.bystander --against before.json

Each attack meets a server of its own. The bystander sends a request, and the next one 100 ms after
the last began or as soon as it was answered. One that is refused (503, 429) is sent again and
counted from its first attempt: that is how long its sender waited.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import re
import resource
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.hostile import ATTACKS, Attack, Client, chat
from benchmarks.machine import busy_cores

EVERY_SECONDS = 0.1
LEAST_SECONDS = 3.0  # for attacks that are over at once
GIVE_UP_SECONDS = 60.0
START_SECONDS = 60.0
SMALL = chat("Say yes.")
JSON = {"Content-Type": "application/json"}


@dataclass
class Outcome:
    """What the bystander met beside one attack, in seconds; and what became of the attack."""

    name: str
    waits: list[float] = field(default_factory=list)
    refused: int = 0
    given_up: bool = False  # the last of the waits had no end
    answers: dict[str, int] = field(default_factory=dict)  # to the attack, by status
    longest: float = 0.0  # of the attack's answers


@contextlib.contextmanager
def serving(
    command: list[str], model: str, arguments: Sequence[str] = ()
) -> Iterator[tuple[int, int]]:
    """A server of its own, started with these arguments; its port and its process."""
    process = subprocess.Popen(
        [*command, "serve", model, "--port", "0", *arguments], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        port = 0
        line = ""
        for line in process.stderr:
            if match := re.search(r"listening on http://\S+:(\d+)", line):
                port = int(match[1])
            if " is ready" in line:
                break
        if not port:
            raise SystemExit(f"{shlex.join(command)} did not start: {line.strip()}")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)  # without waiting for running requests
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(port: int, client: Client, seconds: float) -> int:
    """Send a request and read its whole answer; its status, 0 for none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("POST", client.path, client.body, JSON | client.headers)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return 0
    else:
        return response.status
    finally:
        connection.close()


class Assault:
    """The clients of an attack, each in a thread of its own, as far as they do anything."""

    def __init__(self, port: int, attack: Attack) -> None:
        self._port = port
        self._clients = attack.clients()
        self._held: list[socket.socket] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self.answers: Counter[str] = Counter()
        self.longest = 0.0

    def begin(self) -> None:
        """Starts them all."""
        for client in self._clients:
            if client.manner == "connects":
                self._held.append(socket.create_connection(("127.0.0.1", self._port)))
            elif client.manner == "never reads":
                self._leave(client)
            elif client.manner == "repeats":
                threading.Thread(target=self._repeat, args=(client,), daemon=True).start()
            else:
                self._threads.append(threading.Thread(target=self._once, args=(client,)))
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def at_work(self) -> bool:
        """Whether an answer is still awaited. Who holds connections, or repeats, is never done."""
        asking = any(thread.is_alive() for thread in self._threads)
        return asking or (len(self._clients) > 0 and not self._threads)

    def end(self) -> None:
        """Let go."""
        self._ended.set()
        for held in self._held:
            held.close()

    def _once(self, client: Client) -> None:
        started = time.perf_counter()
        status = ask(self._port, client, GIVE_UP_SECONDS)
        seconds = time.perf_counter() - started
        with self._lock:
            if not self._ended.is_set():
                self.answers[str(status or "cut")] += 1
                self.longest = max(self.longest, seconds)

    def _repeat(self, client: Client) -> None:
        while not self._ended.is_set():
            ask(self._port, client, GIVE_UP_SECONDS)

    def _leave(self, client: Client) -> None:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", self._port))
        head = (
            f"POST {client.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        )
        length = f"Content-Length: {len(client.body)}\r\n\r\n"
        connection.sendall((head + length).encode() + client.body)
        self._held.append(connection)


def wait_once(port: int, outcome: Outcome) -> None:
    """One request of the bystander, with as many attempts as it takes."""
    started = time.perf_counter()
    while True:
        left = started + GIVE_UP_SECONDS - time.perf_counter()
        if left <= 0 or (status := ask(port, Client(SMALL), left)) == 200:
            outcome.waits.append(time.perf_counter() - started)
            outcome.given_up = left <= 0
            return
        if status == 400:
            raise RuntimeError("the bystander's own request was refused as wrong")
        outcome.refused += 1
        time.sleep(EVERY_SECONDS)


def measure(command: list[str], model: str, attack: Attack, seconds: float) -> Outcome:
    """Runs one attack, for so long at most, and the bystander beside it."""
    outcome = Outcome(attack.name)
    with serving(command, model) as (port, _):
        for _ in range(5):
            wait_once(port, Outcome("warming up"))
        assault = Assault(port, attack)
        started = time.perf_counter()
        assault.begin()
        while not outcome.given_up:
            now = time.perf_counter()
            if now > started + seconds or (now > started + LEAST_SECONDS and not assault.at_work()):
                break
            wait_once(port, outcome)
            time.sleep(max(0.0, now + EVERY_SECONDS - time.perf_counter()))
        assault.end()
    outcome.answers = dict(assault.answers)
    outcome.longest = assault.longest
    return outcome


def shown(seconds: float) -> str:
    """As the table has it."""
    return f"{seconds * 1e3:,.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def row(outcome: Outcome, before: dict[str, Outcome]) -> str:
    """A line of the table."""
    cells = [outcome.name]
    if before:
        cells.append(_slowest(before[outcome.name]) if outcome.name in before else "")
    answers = ", ".join(
        f"{count:,} x {status}" if count > 1 else status
        for status, count in sorted(outcome.answers.items())
    )
    cells += [
        _slowest(outcome),
        shown(statistics.median(outcome.waits)),
        f"{len(outcome.waits)}",
        f"{answers}, {shown(outcome.longest)}" if answers else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _slowest(outcome: Outcome) -> str:
    text = ("over " if outcome.given_up else "") + shown(max(outcome.waits))
    return text + (f" ({outcome.refused} refusals)" if outcome.refused else "")


def read(path: Path) -> dict[str, Outcome]:
    """What was saved, by the attack's name."""
    return {one["name"]: Outcome(**one) for one in json.loads(path.read_text())}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--server", default=str(Path(sys.executable).with_name("cierzo")))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--seconds", type=float, default=20.0, help="for one attack, at most")
    parser.add_argument("--only", default="", help="attacks with these words in their name")
    parser.add_argument(
        "--save", type=Path, help="file for what was measured; what is measured again is replaced"
    )
    parser.add_argument("--against", type=Path, help="such a file, for a column `before`")
    options = parser.parse_args()
    before = read(options.against) if options.against else {}
    saved = read(options.save) if options.save and options.save.exists() else {}
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"{busy_cores(3.0):.1f} cores are busy with other work", flush=True)
    header = ["beside", *(["slowest before"] if before else []), "slowest", "median", "requests"]
    header += ["the others' answers, and the last of them after"]
    print("| " + " | ".join(header) + " |")
    print("| --- |" + " ---: |" * (len(header) - 1), flush=True)
    for attack in ATTACKS:
        if options.only in attack.name:
            command = shlex.split(options.server)
            outcome = measure(command, options.model, attack, options.seconds)
            print(row(outcome, before), flush=True)
            saved[attack.name] = outcome
            if options.save:
                options.save.write_text(json.dumps([asdict(one) for one in saved.values()]))


if __name__ == "__main__":
    main()
