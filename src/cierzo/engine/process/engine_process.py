"""One engine process and the socket to it: start it, talk to it, see it end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Sequence

import msgspec

from cierzo.engine.messages import FromEngine, ToEngine, encode_frame, reads_from_engine

COMMAND = (sys.executable, "-P", "-m", "cierzo.engine.process.main")
_EXIT_SECONDS = 2.0  # for an engine that was asked to exit


class EngineProcess(asyncio.Protocol):
    """A running engine process.

    The socket is an unnamed pair, so nothing lies in the file system and nobody else can connect.
    """

    def __init__(self, on_message: Callable[[FromEngine], None]) -> None:
        """For `open`. `on_message` is called with each message as it arrives."""
        self._on_message = on_message
        self._reader = reads_from_engine()
        self._transport: asyncio.Transport
        self._process: asyncio.subprocess.Process
        self.closed = asyncio.Event()  # the engine is gone, or no longer makes sense
        self._nonsense = ""

    @classmethod
    async def open(
        cls, on_message: Callable[[FromEngine], None], command: Sequence[str] = COMMAND
    ) -> EngineProcess:
        """Starts `command` with the number of its end of the socket as last argument.

        In a session of its own: a Ctrl-C in the terminal is for the API process alone.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    str(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        loop = asyncio.get_running_loop()
        try:
            _, self = await loop.create_unix_connection(lambda: cls(on_message), sock=ours)
        except BaseException:
            ours.close()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()  # or it would be left behind, if only as a name
            raise
        self._process = process
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, message: ToEngine) -> None:
        """Sends a message; does nothing when the engine is gone."""
        if not self.closed.is_set():
            self._transport.write(encode_frame(message))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        try:
            for message in self._reader.feed(data):
                self._on_message(message)
        except (ValueError, msgspec.DecodeError) as error:
            self._nonsense = f"it sent a message that cannot be read ({error})"
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self.closed.set()

    async def end(self, *, politely: bool) -> str:
        """Ends the process, at once unless `politely`; returns how it ended, in one line."""
        try:
            if politely or self.closed.is_set():
                # Not `wait_for`: until Python 3.12 it forgets that it was cancelled when what it
                # waits for comes in the same moment, and then this would wait forever.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_EXIT_SECONDS):
                        await self._process.wait()
        finally:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
            self._transport.abort()
        code = await self._process.wait()
        if self._nonsense:
            return self._nonsense
        if code < 0:
            hint = " (out of memory?)" if code == -signal.SIGKILL else ""
            return f"it was ended by {signal.Signals(-code).name}{hint}"
        return f"it exited with status {code}"
