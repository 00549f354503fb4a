"""The server's log: events with fields, as lines of text or of JSON on stderr.

An event is a fixed word or two, and its fields are numbers and names of ours: never a prompt, an
answer, a header or a key. What an exception says may quote any of these, so of an exception only
its type and the places in the code are written.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Literal, TextIO, TypeAlias

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Form: TypeAlias = Literal["text", "json"]

_KEPT = 10_000  # lines that wait for a reader of stderr; more are dropped and counted
_LOGGERS = ("cierzo", "uvicorn.error", "asyncio")
_LAST_SECONDS = 1.0  # that whoever reads stderr has for the last lines


class Log:
    """One part's way to write events: `Log("engine").warning("restarted", seconds=2.5)`."""

    def __init__(self, part: str) -> None:
        self._logger = logging.getLogger(f"cierzo.{part}")

    def info(self, event: str, **fields: object) -> None:
        """Something that happens in every run."""
        self._logger.info(event, extra={"fields": fields})

    def warning(self, event: str, **fields: object) -> None:
        """Something that whoever runs the server may want to change."""
        self._logger.warning(event, extra={"fields": fields})

    def error(self, event: str, **fields: object) -> None:
        """Something that has failed."""
        self._logger.error(event, extra={"fields": fields})


class Forward(logging.Handler):
    """Hands events of a process that writes no log of its own to one that does, which calls
    `repeat` with them."""

    def __init__(self, send: Callable[[str, str, str, dict[str, str | int | float]], None]) -> None:
        super().__init__(logging.INFO)
        self._send = send
        logger = logging.getLogger("cierzo")
        logger.handlers = [self]
        logger.setLevel(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        """Sends level, part, event and fields."""
        told = {
            name: value if isinstance(value, str | int | float) else str(value)
            for name, value in _fields_of(record).items()
        }
        part = record.name.removeprefix("cierzo.")
        self._send(record.levelname, part, record.getMessage(), told)


def repeat(level: str, part: str, event: str, fields: dict[str, str | int | float]) -> None:
    """Writes an event that another process has sent."""
    number = {"INFO": logging.INFO, "WARNING": logging.WARNING}.get(level, logging.ERROR)
    logging.getLogger(f"cierzo.{part}").log(number, event, extra={"fields": fields})


class StderrLog(logging.Handler):
    """Writes the lines from a thread of its own: a stderr that nobody reads stops no request."""

    def __init__(self, level: Level, form: Form, stream: TextIO) -> None:
        super().__init__(level.upper())
        self._form = form
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(_KEPT)
        self._dropped = 0
        self._writer = threading.Thread(target=self._write, name="log", daemon=True)
        self._writer.start()
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.handlers = [self]
            logger.propagate = False
            logger.setLevel(level.upper() if name == "cierzo" else logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        """Queues a line, or counts it where the queue is full."""
        fields = _fields_of(record)
        if self._dropped:
            fields["lines_dropped"] = self._dropped
        try:
            self._lines.put_nowait(_line(record, fields, self._form))
            self._dropped = 0
        except queue.Full:
            self._dropped += 1

    def say(self, text: str) -> None:
        """Writes something for people, in one piece and between the lines: as it is, or as JSON."""
        line = text
        if self._form == "json":
            told = logging.LogRecord("cierzo", logging.INFO, "", 0, text, None, None)
            line = _line(told, {}, self._form)
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(line)

    def close(self) -> None:
        """Waits a moment for the lines that are queued."""
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self)
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)
        self._writer.join(_LAST_SECONDS)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError, ValueError):  # nobody reads on, or it is closed
                _write_all(self._stream, line + "\n")


def _write_all(stream: TextIO, text: str) -> None:
    """To a file past its buffer: what cannot be written must not be tried again at exit."""
    try:
        number = stream.fileno()
    except io.UnsupportedOperation:
        stream.write(text)
        return
    data = memoryview(text.encode("utf-8", "backslashreplace"))
    while data:
        data = data[os.write(number, data) :]


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = dict(getattr(record, "fields", {}))
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = record.exc_info[0].__name__
        frames = traceback.extract_tb(record.exc_info[2])
        fields["traceback"] = [f"{f.filename}:{f.lineno} in {f.name}" for f in frames]
    return fields


def _line(record: logging.LogRecord, fields: dict[str, object], form: Form) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    moment += f".{int(record.msecs):03}Z"
    level, event = record.levelname.lower(), record.getMessage()
    if form == "json":
        known = {"time": moment, "level": level, "part": record.name, "event": event}
        return json.dumps({**known, **fields}, default=str)
    frames = fields.pop("traceback", [])
    told = "".join(f" {name}={_shown(value)}" for name, value in fields.items())
    lines = [f"{moment} {level:7} {event}{told}"]
    if isinstance(frames, list) and frames:
        lines += ["Traceback (most recent call last):", *(f"  {frame}" for frame in frames)]
    return "\n".join(lines)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text if text.isprintable() and " " not in text and text else json.dumps(text)
