"""Tells an engine that is busy from one that hangs."""

from __future__ import annotations

import asyncio

from cierzo.engine.messages import Beat, Ping, Pong
from cierzo.engine.process.engine_process import EngineProcess

_PING_SECONDS = 1.0
BUSY_FACTOR = 15  # how much longer than its process the engine's loop may be silent


class Watchdog:
    """Pings one engine.

    A thread of the engine answers each ping at once: a process that is stopped, or gone, does not.
    Its loop answers between two steps, and a step may take long on a slow machine with many
    requests; so the loop may be silent for `BUSY_FACTOR` times as long.

    Silence is counted in waits of this event loop, so that the engine is not blamed when the loop
    itself, or the whole machine, stood still.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.ping = 0  # the serial of the last
        self.beat = 0  # the last that its thread has answered
        self.pong = 0  # the last that its loop has answered

    def hear(self, message: Beat | Pong) -> None:
        """Notes an answer."""
        if isinstance(message, Beat):
            self.beat = message.serial
        else:
            self.pong = message.serial

    async def until_it_fails(self, process: EngineProcess) -> str:
        """Returns when the engine has failed: what is wrong with it, in one line."""
        interval = min(_PING_SECONDS, self._seconds / 4)
        silent = busy = 0.0
        heard = self.pong
        while True:
            if self.beat == self.ping:
                silent = 0.0
                self.ping += 1
                process.send(Ping(self.ping))
            if self.pong != heard:
                heard, busy = self.pong, 0.0
            try:
                async with asyncio.timeout(interval):
                    await process.closed.wait()
            except TimeoutError:
                silent += interval
                busy += interval
            else:
                return f"the engine process died: {await process.end(politely=True)}"
            if silent >= self._seconds and self.beat != self.ping:
                return f"the engine hung: it did not answer for {self._seconds:g} s"
            longest = BUSY_FACTOR * self._seconds
            if busy >= longest and self.pong == heard:
                return f"the engine hung: it has been in one step for {longest:g} s"
