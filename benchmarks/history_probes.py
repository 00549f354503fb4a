"""The server and its engine process with clocks in them, for `history.py`.

Each of the two appends lines to the file that HISTORY_CLOCK names: what was reached, and when by
the machine's clock, which both share.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

_CLOCK = os.open(os.environ["HISTORY_CLOCK"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def reached(name: str) -> None:
    """Notes the time."""
    os.write(_CLOCK, f"{name} {time.monotonic_ns()}\n".encode())


def clocked(owner: Any, name: str, *, before: str = "", after: str = "") -> None:
    """Notes when a function of `owner` is called, and when it has returned."""
    inner: Callable[..., Any] = getattr(owner, name)

    @wraps(inner)
    def outer(*args: Any, **named: Any) -> Any:
        if before:
            reached(before)
        result = inner(*args, **named)
        if after:
            reached(after)
        return result

    setattr(owner, name, outer)


def serve(model: str, tokenizer: str) -> int:
    """The server, with its clocks, until a signal."""
    from cierzo.api import lifecycle
    from cierzo.api.http.http_protocol import LimitedProtocol
    from cierzo.api.openai import chat
    from cierzo.engine.messages import Add
    from cierzo.engine.process.client import EngineClient
    from cierzo.engine.process.engine_process import EngineProcess
    from cierzo.generate import prepare
    from cierzo.model.fetch.registry import ModelEntry
    from cierzo.settings import load_settings

    clocked(LimitedProtocol, "on_message_complete", before="arrived")
    clocked(chat, "read_request", before="on a thread", after="decoded")
    clocked(chat, "prepared", before="on a thread again", after="jobs made")
    clocked(chat, "read_conversation", after="conversation read")
    clocked(prepare, "_constraints", after="constraint written")
    clocked(prepare, "encode_prompt", after="prompt encoded")
    clocked(chat, "respond", before="grammar compiled")
    send = EngineProcess.send

    def sent(self: EngineProcess, message: Any) -> None:
        send(self, message)
        if isinstance(message, Add):
            reached("sent")

    EngineProcess.send = sent  # type: ignore[method-assign]
    command = (sys.executable, "-m", "benchmarks.history_probes", "engine")
    lifecycle.EngineClient = partial(EngineClient, command=command)  # type: ignore
    overrides = {"server.port": 0, "engine.kv_cache_disk_gb": 0}
    settings, _ = load_settings(overrides, environment={}, files=())
    found = Path(tokenizer) if tokenizer else None
    return lifecycle.run_server(settings, Path(model), ModelEntry("history"), tokenizer=found)


def engine() -> None:
    """The engine process, with its clocks."""
    from cierzo.engine.engine import Engine
    from cierzo.engine.process import main
    from cierzo.engine.scheduling.scheduler import Scheduler

    clocked(main.Loop, "_add", before="taken in")
    clocked(Engine, "add", after="queued")
    clocked(Scheduler, "schedule", after="planned")
    main.main()


if __name__ == "__main__":
    if sys.argv[1] == "engine":
        del sys.argv[1]
        engine()
    else:
        sys.exit(serve(*json.loads(sys.argv[2])))
