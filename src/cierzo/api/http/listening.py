"""The sockets that the server listens on, how it accepts, and how many connections there may be."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
import time
from collections.abc import Callable, Generator
from typing import Any, cast

import uvicorn

from cierzo.settings import ServerSettings

_QUEUE = 1024  # connections that the kernel holds until they are accepted
_SPARE_FILES = 64  # file descriptors that are not connections
_MOST_FILES = 65_536
# What a machine says of an address that it does not have, or whose kind it does not speak.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)
RETRY_SECONDS = 1.0  # after a connection could not be accepted
_REPEAT_SECONDS = 60  # between two lines that say the same

Say = Callable[[str], None]


class ListenError(Exception):
    """The server cannot listen where it should. One line that says what to do."""


def listen(server: ServerSettings) -> list[socket.socket]:
    """A listening socket for each address of the host; only one for port 0. Raises ListenError.

    A name may stand for addresses that this machine does not have, as `localhost` does for ::1
    where IPv6 is switched off. But all that it has must be free: with one of them taken, some
    clients would find the other server.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in _addresses(server):
            try:
                bound = socket.create_server(address, family=family, backlog=_QUEUE)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
                continue
            sockets.append(bound)
            if not server.port:
                break
        if missing and not sockets:
            raise missing
    except OSError as error:
        for bound in sockets:
            bound.close()
        option = "--port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "--host"
        where = f"{server.host}:{server.port}"
        raise ListenError(
            f"cannot listen on {where}: {error.strerror or error}; choose another with {option}"
        ) from error
    return sockets


def url_of(bound: socket.socket) -> str:
    """The address of a listening socket, for people."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def max_connections() -> int:
    """As many as there are file descriptors for, after asking for all that we may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    most = max(most, soft)
    return max(most - _SPARE_FILES, most // 2)


class HttpServer(uvicorn.Server):
    """uvicorn that accepts connections itself and leaves signals alone.

    Its handlers would end the process by the signal. And asyncio, where no descriptor is left for a
    connection, tries as often as the kernel may hold connections and has each failure followed by a
    further try a second later: more and more of them, until nothing else is done. Here one
    connection is accepted in each turn of the loop, and after a failure one try follows.
    """

    def __init__(self, config: uvicorn.Config, say: Say) -> None:
        super().__init__(config)
        self._say = say
        self._told: float | None = None  # when it was last said that no descriptor is left
        self._connecting: set[asyncio.Task[Any]] = set()
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        for bound in sockets or ():
            bound.setblocking(False)
            self._listen_to(bound)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for bound in sockets or ():
            asyncio.get_running_loop().remove_reader(bound)
            if bound in self._paused:
                self._paused.pop(bound).cancel()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    def _listen_to(self, bound: socket.socket) -> None:
        self._paused.pop(bound, None)
        asyncio.get_running_loop().add_reader(bound, self._accept, bound)

    def _accept(self, bound: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection, _ = bound.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # whoever it was has gone
        except OSError as error:
            # The socket would be ready again at once.
            loop.remove_reader(bound)
            self._paused[bound] = loop.call_later(RETRY_SECONDS, self._listen_to, bound)
            self._tell_why(error)
            return
        connection.setblocking(False)
        task = loop.create_task(loop.connect_accepted_socket(self._protocol, connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _protocol(self) -> asyncio.Protocol:
        """For one connection, as uvicorn makes it."""
        make = cast(Callable[..., asyncio.Protocol], self.config.http_protocol_class)
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _tell_why(self, error: OSError) -> None:
        """Says in one line, now and then, why new connections wait."""
        now = time.monotonic()
        if self._told is not None and now - self._told <= _REPEAT_SECONDS:
            return
        self._told = now
        if error.errno in _OUT_OF_FILES:
            self._say("out of file descriptors: new connections wait; allow more with `ulimit -n`")
        else:
            self._say(f"new connections wait: {error.strerror or error}")


def _addresses(server: ServerSettings) -> list[tuple[int, Any]]:
    """Family and address of each place to listen on; a name may be in the hosts file twice."""
    places = socket.getaddrinfo(
        server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return list(dict.fromkeys((family, address) for family, _, _, _, address in places))
