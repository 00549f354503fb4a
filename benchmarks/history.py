"""How long it takes until the engine has queued a turn of a long session, stage by stage.

    python -m benchmarks.history [--words v13] [--tokens 100000] [--turns 12] [--models FOLDER]

A real server and engine process on a checkpoint that computes next to nothing, with a real
vocabulary and chat template. The clock starts with the last byte of the request's body in the API
process and ends where the engine has queued it. The first turn brings the whole history, each
further one the same and a call with its result (some 800 tokens), 0.3 s after the answer, as long
as agents' tools take in the median.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.history_models import NAMES, checkpoint
from benchmarks.history_sessions import session, tools

STAGES = (
    *("on a thread", "decoded", "on a thread again", "conversation read", "constraint written"),
    *("prompt encoded", "jobs made", "grammar compiled", "sent", "taken in", "queued"),
)
TOOL_SECONDS = 0.3
THEN = "planned"  # the first step after that has been put together


class Server:
    """A running one, and its clocks."""

    def __init__(self, port: int, clock: Path) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self._clock = clock
        self._read = 0

    def turn(self, messages: list[Any]) -> tuple[dict[str, float], dict[str, Any]]:
        """Asks for one token; milliseconds that each stage took, and the answer's usage."""
        fields = {"tools": tools(), "max_tokens": 1, "temperature": 0, "stream": False}
        body = json.dumps({"messages": messages, **fields})
        self._connection.request("POST", "/v1/chat/completions", body, {"Host": "localhost"})
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise SystemExit(f"{response.status}: {answer}")
        return self._times(), answer["usage"]

    def _times(self) -> dict[str, float]:
        lines = self._clock.read_text(encoding="utf-8").splitlines()
        times: dict[str, int] = {}
        for line in lines[self._read :]:
            name, _, at = line.rpartition(" ")
            if name != THEN or "queued" in times:
                times.setdefault(name, int(at))
        self._read = len(lines)
        taken = {}
        for before, name in itertools.pairwise(("arrived", *STAGES, THEN)):
            taken[name] = (times[name] - times[before]) / 1e6
        taken["until queued"] = (times["queued"] - times["arrived"]) / 1e6
        return taken


@contextmanager
def serving(words: str, folder: Path) -> Iterator[Server]:
    model, tokenizer = checkpoint(words, folder)
    clock = folder / f"clock-{os.getpid()}-{words}"
    what = json.dumps([str(model), str(tokenizer or "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.history_probes", "serve", what],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HISTORY_CLOCK": str(clock)},
    )
    try:
        assert process.stderr is not None
        port, line = 0, ""
        for line in process.stderr:
            if match := re.search(r"listening on http://\S+:(\d+)", line):
                port = int(match[1])
            if " is ready" in line:
                break
        else:
            raise SystemExit(f"the server did not start: {line}")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield Server(port, clock)
    finally:
        process.terminate()
        process.wait()
        clock.unlink(missing_ok=True)


def measure(words: str, tokens: int, turns: int, folder: Path) -> None:
    with serving(words, folder) as server:
        growing = session(1)
        messages = [message for part in itertools.islice(growing, 60) for message in part]
        _, usage = server.turn(messages)
        per_message = usage["prompt_tokens"] / len(messages)
        growing = session(2)  # which the server has not seen
        history: list[Any] = []
        while len(history) < tokens / per_message:
            history += next(growing)
        first, usage = server.turn(history)
        before, later = usage["prompt_tokens"], []
        for _ in range(turns):
            history += next(growing)
            time.sleep(TOOL_SECONDS)
            taken, usage = server.turn(history)
            later.append(taken)
    added = (usage["prompt_tokens"] - before) / turns
    print(
        f"{words}: {before:,} tokens in {len(history)} messages, {added:.0f} more a turn, "
        f"of {usage['prompt_tokens']:,} {usage['prompt_tokens_details']['cached_tokens']:,} cached"
    )
    print(f"{'ms':22}{'first':>9}{'median':>9}{'least':>9}{'most':>9}")
    for name in first:
        values = [taken[name] for taken in later]
        shown = (first[name], statistics.median(values), min(values), max(values))
        print(f"{name:22}" + "".join(f"{value:9.2f}" for value in shown), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--words", nargs="*", choices=NAMES, default=["smollm2", "v11", "v13"])
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--models", type=Path, help="where checkpoints are kept for the next time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.models or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for words in given.words:
            measure(words, given.tokens, given.turns, folder)


if __name__ == "__main__":
    main()
