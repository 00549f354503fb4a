"""Where the server listens: what of a name this machine has, and nothing that is taken."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from cierzo.api.http import listening
from cierzo.api.http.listening import HttpServer, ListenError, listen, max_connections, url_of
from cierzo.settings import ServerSettings

LOOPBACK = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
NOT_OURS = "192.0.2.1"  # of the addresses for documentation: no machine has it


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


def hosts(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, str]) -> None:
    """Has a name stand for these addresses, as the hosts file of another machine may say."""

    def found(host: str, port: int, **_: Any) -> list[Any]:
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, port, 0, 0)[: 4 if ":" in address else 2])
            for family, address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)


def listened(server: ServerSettings) -> list[str]:
    sockets = listen(server)
    names = [url_of(bound) for bound in sockets]
    for bound in sockets:
        bound.close()
    return names


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(
    "missing",
    [(socket.AF_INET, NOT_OURS), (socket.AF_INET6, "2001:db8::1"), (socket.AF_APPLETALK, "::1")],
    ids=["no such address", "no such IPv6 address", "no such family"],
)
@pytest.mark.parametrize("first", [False, True])
def test_what_the_machine_does_not_have_is_left_out(
    monkeypatch: pytest.MonkeyPatch, fixed: bool, missing: tuple[int, str], first: bool
) -> None:
    ours = (socket.AF_INET, "127.0.0.1")
    hosts(monkeypatch, *((missing, ours) if first else (ours, missing)))
    port = free_port() if fixed else 0
    (url,) = listened(ServerSettings(host="localhost", port=port))
    assert url.startswith("http://127.0.0.1:")
    assert not port or url.endswith(f":{port}")


def test_a_name_with_nothing_of_ours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts(monkeypatch, (socket.AF_INET, NOT_OURS))
    with pytest.raises(ListenError, match="--host"):
        listen(ServerSettings(host="localhost"))


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ListenError, match="not known; choose another with --host"):
        listen(ServerSettings(host="no-such-name.invalid"))


def test_a_name_that_stands_twice_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = (socket.AF_INET, "127.0.0.1")
    hosts(monkeypatch, ours, ours)
    assert len(listened(ServerSettings(host="localhost", port=free_port()))) == 1


def test_all_that_the_machine_has_must_be_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else some clients of `localhost` would find the other server. Nothing is left bound."""
    hosts(monkeypatch, (socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.1"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match="--port"):
            listen(ServerSettings(host="localhost", port=port))
        with socket.create_server(("127.0.0.2", port)):
            pass


@pytest.mark.parametrize(("files", "most"), [(64, 32), (100, 50), (256, 192), (1024, 960)])
def test_some_descriptors_are_left_for_other_things(
    monkeypatch: pytest.MonkeyPatch, files: int, most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert max_connections() == most


class Starved(socket.socket):
    """A listening socket in a process that has no descriptor left for so many tries."""

    asked = 0
    failures = 0

    def accept(self) -> Any:
        self.asked += 1
        if self.asked <= self.failures:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@contextmanager
def starved(failures: int) -> Iterator[Starved]:
    with Starved() as bound:
        bound.failures = failures
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        yield bound


async def app(scope: object, receive: object, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@asynccontextmanager
async def serving(bound: socket.socket, said: list[str]) -> AsyncIterator[HttpServer]:
    config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None)
    server = HttpServer(config, said.append)
    task = asyncio.create_task(server.serve([bound]))
    try:
        yield server
    finally:
        server.should_exit = True
        await task


def test_without_descriptors_it_tries_once_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries that multiply would leave no time for the connections that there are."""

    async def tries(bound: Starved) -> int:
        async with serving(bound, said):
            with socket.create_connection(bound.getsockname()):
                while not bound.asked:
                    await asyncio.sleep(0)
                for _ in range(100):  # turns of the loop
                    await asyncio.sleep(0)
                return bound.asked

    said: list[str] = []
    monkeypatch.setattr(listening, "RETRY_SECONDS", 3_600)
    with starved(1_000_000) as bound:
        assert asyncio.run(tries(bound)) == 1
    (line,) = said
    assert "ulimit -n" in line


def test_who_waited_is_served_once_there_are_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answered(bound: Starved) -> bytes:
        async with serving(bound, said):
            reader, writer = await asyncio.open_connection(*bound.getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer

    said: list[str] = []
    monkeypatch.setattr(listening, "RETRY_SECONDS", 0.001)
    with starved(20) as bound:
        assert asyncio.run(answered(bound)).startswith(b"HTTP/1.1 204")
        assert bound.asked >= 21
    assert len(said) == 1  # in a minute


def test_the_kernel_holds_many_that_are_not_accepted_yet() -> None:
    async def held(bound: socket.socket) -> int:
        async with serving(bound, []) as server:
            while not server.started:
                await asyncio.sleep(0)
            return queue_of(bound)

    (bound,) = listen(ServerSettings(host="127.0.0.1", port=0))
    assert asyncio.run(held(bound)) == min(1024, most_queued())


def queue_of(bound: socket.socket) -> int:
    """How many connections the kernel holds for a listening socket (tcpi_sacked, see tcp(7))."""
    info = bound.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    size: int = struct.unpack_from("=I", info, 28)[0]
    return size


def most_queued() -> int:
    return int(Path("/proc/sys/net/core/somaxconn").read_text())
