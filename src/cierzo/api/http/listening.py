"""The sockets that the server listens on, how it accepts, and how many connections there may be."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
import time
from collections.abc import Callable, Generator
from typing import Any

import uvicorn

from cierzo.settings import ServerSettings

_QUEUE = 1024  # connections that the kernel holds until they are accepted
_SPARE_FILES = 64  # file descriptors that are not connections
_MOST_FILES = 65_536
# What a machine says of an address that it does not have, or whose kind it does not speak.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)
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
    """uvicorn that leaves signals alone, as its handlers would end the process by the signal.

    It accepts one connection in each turn of the loop. asyncio would accept as many as the kernel
    may hold, and where no descriptor is left it tries as often all the same and has each failure
    followed by a further try a second later: more and more of them, until nothing else is done.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.backlog = 1
        await super().startup(sockets)
        for bound in sockets or ():
            bound.listen(_QUEUE)  # asyncio has told the kernel, too

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def tell_when_full(loop: asyncio.AbstractEventLoop, say: Say) -> None:
    """Has the loop say in one line, now and then, that no descriptor is left for a connection.

    The loop itself waits a second then before it accepts again; a traceback each time helps nobody.
    """
    told = 0.0

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal told
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in _OUT_OF_FILES:
            loop.default_exception_handler(context)
        elif time.monotonic() - told > _REPEAT_SECONDS or not told:
            told = time.monotonic()
            say("out of file descriptors: new connections wait; allow more with `ulimit -n`")

    loop.set_exception_handler(handle)


def _addresses(server: ServerSettings) -> list[tuple[int, Any]]:
    """Family and address of each place to listen on; a name may be in the hosts file twice."""
    found = socket.getaddrinfo(
        server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))
