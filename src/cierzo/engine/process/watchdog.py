"""Tells an engine that is busy from one that hangs."""

from __future__ import annotations

import asyncio

from cierzo.engine.messages import Beat, Ping, Pong
from cierzo.engine.process.engine_process import EngineProcess

_PING_SECONDS = 1.0
BUSY_FACTOR = 15  # so much longer than its process may the engine's loop be silent


class Watchdog:
    """Pings one engine.

    A thread of the engine answers each ping at once: a process that is stopped, or gone, does not.
    Its loop answers once the step is done that it is in, which on a slow machine with many requests
    takes a while; that it takes for ever is another matter.

    Silence is counted in waits that this event loop itself got through, so that a loop or a machine
    that stood still does not blame the engine.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.ping = 0  # the serial of the last
        self.beat = 0  # the last that its thread has answered
        self.pong = 0  # the last that its loop has answered

    def hear(self, message: Beat | Pong) -> None:
        """An answer has come."""
        if isinstance(message, Beat):
            self.beat = message.serial
        else:
            self.pong = message.serial

    async def until_it_fails(self, process: EngineProcess) -> str:
        """Returns what is wrong with the engine when something is."""
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
