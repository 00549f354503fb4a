"""Sessions of agents for a long while, in a third of the memory that they need, with the disk on.

    python -m benchmarks.soak_sessions --minutes 30 [--seed 7] [--sessions 8]

Histories grow turn by turn, are forked and begun anew; many requests are broken off at any moment.
Answers that came whole are asked for again later, when their history has been evicted, read from
disk or left by another request in the middle, and must be the same. After each round everybody
lets go: no block may stay in use, and memory must not grow beyond that of the first half by more
than 2%. What the server remembers of texts has a bound, to which it is filled first, by prompts too
long for the model: what grows afterwards is a leak.
Exits with 1, and says what was wrong, when anything was.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import shlex
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.bystander import JSON, serving
from benchmarks.hostile import words
from benchmarks.soak import ANSWER_SECONDS, Soak, broken_off, faults, in_rounds, metrics, tell
from cierzo.chat.recent import MOST_BYTES

ROUND_SECONDS = 45.0
MEMORY_MB = 256  # SmolLM2 takes 23 kB a token: eight sessions of 4,000 tokens need three times that
DISK_GB = 1.0
LONGEST = 4_000  # tokens of a history, more or less
ASKED_AGAIN = 0.1
MOST_REMEMBERED = 200  # answers that may be asked for again
MEMORY_SLACK = 0.02
FILLINGS = 3  # the allocator needs some rounds, too
FILLING_WORDS = 10_000  # of a prompt that is refused

Message = dict[str, Any]


@dataclass
class Answers:
    """What requests were answered with, for those that come again."""

    chance: random.Random
    known: dict[bytes, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    again: int = 0
    different: int = 0

    def one(self) -> bytes | None:
        """A request that was answered before."""
        with self.lock:
            return self.chance.choice(list(self.known)) if self.known else None

    def note(self, body: bytes, answer: str) -> None:
        """Holds an answer to what the same request was answered with before."""
        with self.lock:
            before = self.known.setdefault(body, answer)
            self.again += before is not answer
            self.different += before != answer
            if len(self.known) > MOST_REMEMBERED:
                del self.known[next(iter(self.known))]


@dataclass
class Session:
    """One agent's history."""

    chance: random.Random
    messages: list[Message] = field(default_factory=list)

    def next_turn(self) -> bytes:
        """The request of a further turn, of this history, an earlier point of it, or a new one."""
        size = sum(len(message["content"].split()) for message in self.messages)
        if not self.messages or size > LONGEST:
            system = f"Agent {self.chance.randrange(10**9)}. " + words(300, 1)
            self.messages = [{"role": "system", "content": system}]
        elif self.chance.random() < 0.1:
            self.messages = self.messages[: self.chance.randrange(1, len(self.messages) + 1)]
        text = words(int(10 ** self.chance.uniform(0.5, 2.8)), self.chance.randrange(10**6))
        self.messages.append({"role": "user", "content": text})
        fields: dict[str, Any] = {
            "messages": self.messages,
            "max_tokens": int(10 ** self.chance.uniform(0, 1.8)),
            "temperature": self.chance.choice((0, 0.8)),
            "seed": self.chance.randrange(2**31),
        }
        return json.dumps(fields).encode()


def answer_of(port: int, body: bytes) -> str:
    """The text of a whole answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("POST", "/v1/chat/completions", body, JSON)
        response = connection.getresponse()
        answer = json.loads(response.read())
    finally:
        connection.close()
    if response.status != 200:
        raise ValueError(f"{response.status}: {answer}")
    return str(answer["choices"][0]["message"]["content"])


def client(soak: Soak, session: Session, answers: Answers) -> None:
    """Turn after turn until the round ends."""
    chance = session.chance
    while time.monotonic() < soak.until:
        again = answers.one() if chance.random() < ASKED_AGAIN else None
        body = again or session.next_turn()
        try:
            if again is None and chance.random() < 0.35:
                broken_off(soak, "/v1/chat/completions", body, chance)
                continue
            answer = answer_of(soak.port, body)
        except (ValueError, OSError, http.client.HTTPException) as error:
            soak.count(f"{type(error).__name__}: {error}"[:90])
            continue
        soak.count("asked again" if again else "200")
        answers.note(body, answer)
        if again is None:
            session.messages.append({"role": "assistant", "content": answer})


def fill(port: int) -> None:
    """Has the server remember as much of texts as it ever will."""
    texts = (words(FILLING_WORDS, 10**7 + number) for number in count())
    remembered = 0
    while remembered < FILLINGS * MOST_BYTES:
        text = next(texts)
        body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        connection.request("POST", "/v1/chat/completions", body, JSON)
        if (status := connection.getresponse().status) != 400:
            raise ValueError(f"a prompt of {FILLING_WORDS} words was answered with {status}")
        connection.close()
        remembered += len(text)


def run(options: argparse.Namespace, folder: str) -> list[str]:
    """Serves and asks for so many minutes; what was wrong."""
    arguments = ["--kv-cache-memory-mb", str(MEMORY_MB), "--kv-cache-disk-gb", str(DISK_GB)]
    arguments += ["--kv-cache-dir", folder]
    chances = [random.Random(options.seed + i) for i in range(options.sessions)]
    sessions = [Session(chance) for chance in chances]
    answers = Answers(random.Random(options.seed))
    with serving(shlex.split(options.server), options.model, arguments) as (port, pid):
        fill(port)
        soak = Soak(port)
        work = [partial(client, soak, session, answers) for session in sessions]
        probes, rests = in_rounds(soak, pid, options.minutes, ROUND_SECONDS, work)
        now = metrics(port)
    tell(soak, options.minutes)
    print(f"{answers.again} answers came again, {answers.different} of them different")
    for name in sorted(now):
        if "cache" in name or "preempt" in name:
            print(f"  {name} {now[name]:g}")
    soak.statuses["200"] += soak.statuses.pop("asked again", 0)
    found = faults(rests, soak, probes, now["cierzo_engine_restarts_total"], MEMORY_SLACK)
    if answers.different:
        found.append("an answer was another the second time")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--server", default=str(Path(sys.executable).with_name("cierzo")))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--sessions", type=int, default=8)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(options, folder)
    print("\n".join(found) or "nothing grew, and no answer changed")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
