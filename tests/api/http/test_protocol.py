"""What the HTTP protocol does with the socket of a connection."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from cierzo.api.http.http_protocol import limited
from cierzo.api.http.request_log import RequestLog
from cierzo.api.openai.dialect import OPENAI
from cierzo.settings import Limits


class Wire(asyncio.Transport):
    """A transport that is nothing but its socket."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__({"socket": connection})

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


async def no_app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no request is made")


def test_answers_are_not_held_back_for_an_acknowledgement() -> None:
    """Nagle's algorithm would delay the body of each answer by 40 ms.

    asyncio turns it off, but not on sockets from `socket.create_server`, which name no protocol.
    """

    async def connect(connection: socket.socket) -> None:
        config = uvicorn.Config(no_app, lifespan="off", interface="asgi3", log_config=None)
        kind: Any = limited(Limits(), 10, OPENAI.error_body, RequestLog(lambda status: None))
        protocol = kind(config, ServerState(), {}, asyncio.get_running_loop())
        protocol.connection_made(Wire(connection))
        protocol.connection_lost(None)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
        with client, accepted:
            assert not accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            asyncio.run(connect(accepted))
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            # What the kernel still holds for a client that stopped reading is not held for ever.
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
