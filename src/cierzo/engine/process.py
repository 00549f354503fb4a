"""The engine process: loads a model, then runs steps and answers the client until told to end.

Started by `connection.py` as `python -m cierzo.engine.process FD`, where FD is its end of a
socket pair. A thread reads the socket into a queue; everything else happens in the loop, so that
a ping is answered only by a loop that still turns.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import queue
import signal
import socket
import sys
import threading
from typing import NoReturn

import numpy as np

from cierzo.engine.errors import EngineError, PromptTooLong
from cierzo.engine.loading import LoadError, load
from cierzo.engine.messages import (
    Abort,
    Add,
    FromEngine,
    LoadFailed,
    Loading,
    Outputs,
    Ping,
    Pong,
    Ready,
    Shutdown,
    Start,
    StepOutput,
    ToEngine,
    encode_frame,
    reads_to_engine,
)

_READ_BYTES = 1 << 18
_PR_SET_PDEATHSIG = 1


def main() -> NoReturn:
    """Entry point. Exits by itself when the other end of the socket closes."""
    faulthandler.enable()
    _outlive_nothing()
    connection = socket.socket(fileno=int(sys.argv[1]))
    inbox: queue.SimpleQueue[ToEngine] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, inbox), daemon=True).start()
    try:
        _serve(connection, inbox)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the client is gone


def _outlive_nothing() -> None:
    """Dies with the parent, and only then: signals meant for the server are the parent's to act on.

    A terminal sends Ctrl-C, and systemd SIGTERM, to every process of a service; the engine must
    go on, so that the parent can let running requests finish.
    """
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _read(connection: socket.socket, inbox: queue.SimpleQueue[ToEngine]) -> None:
    """Moves messages from the socket to the queue; ends the process with the connection."""
    reader = reads_to_engine()
    while True:
        try:
            data = connection.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            os._exit(0)
        for message in reader.feed(data):
            if isinstance(message, Shutdown):
                os._exit(0)
            inbox.put(message)


def _serve(connection: socket.socket, inbox: queue.SimpleQueue[ToEngine]) -> NoReturn:
    def send(message: FromEngine) -> None:
        connection.sendall(encode_frame(message))

    start = inbox.get()
    if not isinstance(start, Start):
        raise TypeError(f"the first message must be Start, not {type(start).__name__}")
    try:
        engine, info = load(start.launch, lambda detail: send(Loading(detail)))
    except LoadError as error:
        send(LoadFailed(str(error)))
        os._exit(1)
    send(Ready(info))
    while True:
        changed = False
        refused: list[StepOutput] = []
        while not engine.has_work() or not inbox.empty():
            message = inbox.get()
            if isinstance(message, Add):
                try:
                    engine.add(
                        message.request_id, np.frombuffer(message.prompt, "<i4"), message.params
                    )
                except (EngineError, PromptTooLong, ValueError) as error:
                    refused.append(
                        StepOutput(message.request_id, finish_reason="error", error=str(error))
                    )
                    break
            elif isinstance(message, Abort):
                changed = engine.abort(message.request_id) or changed
                if changed and not engine.has_work():
                    break
            elif isinstance(message, Ping):
                send(Pong(message.serial, engine.stats()))
        outputs = engine.step()
        if outputs or refused or changed:
            send(Outputs((*refused, *outputs), engine.stats()))


if __name__ == "__main__":
    main()
