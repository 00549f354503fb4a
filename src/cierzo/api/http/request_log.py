"""A line in the log for each request: what was asked for, how it ended, what it took.

A path is written as its route declares it, for there may be anything in the paths that clients
send. Many refusals of a kind in a short time are one line.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from starlette.types import Scope

from cierzo.log import Log

HEADER = b"x-request-id"
_KEY = "cierzo.notes"
_OWN_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")  # of a client's, that may go into a log
_FAILURES = (500, 502)  # a 503 is a server that is not ready, and says so
_STORM = 5  # refusals with one status that are lines of their own
_STORM_SECONDS = 10.0  # in so long
_log = Log("http")


@dataclass
class RequestNotes:
    """What is known of a request that is being answered. "-" is what is not known."""

    method: str = "-"
    path: str = "-"  # as its route declares it
    request_id: str = field(default_factory=lambda: f"req-{secrets.token_hex(8)}")
    status: int | None = None  # None: the client left before the answer began
    started: float = field(default_factory=time.monotonic)
    more: Callable[[], Mapping[str, object]] = dict  # what the route has to say at the end


def notes_of(scope: Scope) -> RequestNotes:
    """The notes of a request, begun by the first who asks for them."""
    if _KEY not in scope:
        notes = scope[_KEY] = RequestNotes(scope["method"])
        for name, value in scope["headers"]:
            if name == HEADER and _OWN_ID.fullmatch(value):  # the client's own id
                notes.request_id = value.decode()
                break
    return cast(RequestNotes, scope[_KEY])


def note(scope: Scope, more: Callable[[], Mapping[str, object]]) -> None:
    """Says what the log is to add at the end: numbers and names of ours, never what was sent."""
    notes_of(scope).more = more


class RequestLog:
    """Belongs to one server. `count` is told the status of every answer."""

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count
        self._refusals: dict[int, _Window] = {}

    def answered(self, notes: RequestNotes, status: int) -> None:
        """Notes the status with which an answer begins; only a request's first counts."""
        if notes.status is None:
            notes.status = status
            self._count(status)

    def ended(self, notes: RequestNotes) -> None:
        """Writes a request's line, unless it is one of a storm."""
        status = notes.status or 499  # nginx's number for a client that has left
        if status >= 400 and not self._is_heard(status):
            return
        fields = {
            "method": notes.method,
            "path": notes.path,
            "status": status,
            "id": notes.request_id,
            "seconds": time.monotonic() - notes.started,
            **notes.more(),
        }
        write = _log.error if status in _FAILURES else _log.info
        write("request", **fields)

    def _is_heard(self, status: int) -> bool:
        """Counts a refusal; whether it is to have a line of its own."""
        now = time.monotonic()
        window = self._refusals.get(status)
        if window is None or now - window.began > _STORM_SECONDS:
            if window is not None and window.unheard:
                seconds = now - window.began
                _log.warning("refusals", status=status, more=window.unheard, seconds=seconds)
            window = self._refusals[status] = _Window(now)
        window.heard += 1
        if window.heard <= _STORM:
            return True
        if not window.unheard:
            _log.warning("refusals", status=status, note="more of them are counted, not written")
        window.unheard += 1
        return False


@dataclass
class _Window:
    """Refusals with one status, since a moment."""

    began: float
    heard: int = 0
    unheard: int = 0
