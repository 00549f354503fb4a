"""How soon a prompt that nobody waits for any more stops being read.

    python -m benchmarks.cancel [MODEL] [--cancels 40] [--words 6000]

A client asks for an answer to a long prompt and goes away while it is read, at a moment of chance.
At once another asks for one token. Shown is how much longer that takes than on an idle server.
"""

from __future__ import annotations

import argparse
import random
import socket
import sys
import time
from pathlib import Path
from statistics import median, quantiles

from benchmarks.bystander import ask, serving
from benchmarks.hostile import Client, chat, words

_SECONDS = 60.0


def answered(port: int, number: int) -> float:
    """Seconds until a small request is answered that no other is the beginning of."""
    began = time.perf_counter()
    status = ask(port, Client(chat(f"{number} Say yes.", max_tokens=1)), _SECONDS)
    if status != 200:
        raise SystemExit(f"a small request got {status}")
    return time.perf_counter() - began


def leave(port: int, body: bytes, seconds: float) -> None:
    """Sends a request, waits so long, and closes the connection."""
    head = "POST /api/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=_SECONDS) as connection:
        connection.sendall(head.encode() + body)
        time.sleep(seconds)


def main() -> None:
    """Parses the command line, runs, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--cancels", type=int, default=40)
    parser.add_argument("--words", type=int, default=6_000, help="of a prompt that is given up")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    command = [str(Path(sys.executable).with_name("cierzo"))]
    with serving(command, args.model, ["--kv-cache-disk-gb", "0"]) as (port, _):
        answered(port, -1)
        idle = [answered(port, number) for number in range(args.cancels)]
        usual = median(idle)
        print(f"idle: {1e3 * usual:.1f} ms, at most {1e3 * max(idle):.1f}", flush=True)
        later = []
        for number in range(args.cancels):
            leave(port, chat(words(args.words, number)), chance.uniform(0.3, 2.5))
            later.append(answered(port, 1_000 + number) - usual)
    print(
        f"after a prompt was given up: {1e3 * median(later):.1f} ms longer, 95th percentile "
        f"{1e3 * quantiles(later, n=20)[-1]:.1f}, at most {1e3 * max(later):.1f}"
    )


if __name__ == "__main__":
    main()
