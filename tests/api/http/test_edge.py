"""The outermost layer answers also where the app below it cannot any more."""

from __future__ import annotations

import asyncio
import json

from starlette.types import Message, Receive, Scope, Send

from cierzo.api.http.edge import Edge
from cierzo.api.http.paths import Paths
from cierzo.api.http.request_log import RequestLog
from cierzo.api.openai.dialect import OPENAI
from cierzo.settings import Limits, ServerSettings

SCOPE: Scope = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "path": "/v1/models",
    "raw_path": b"/v1/models",
    "query_string": b"",
    "headers": [(b"host", b"localhost")],
}


def messages_of_cancelled(*, begins: bool) -> list[Message]:
    """What a request is sent that is cancelled, as all are when the time to finish is over."""
    sent: list[Message] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        if begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    async def receive() -> Message:
        raise AssertionError("there is no body")

    async def send(message: Message) -> None:
        sent.append(message)

    async def main() -> None:
        counted: list[int] = []
        edge = Edge(
            slow, Paths([], [OPENAI]), Limits(), ServerSettings(), RequestLog(counted.append)
        )
        request = asyncio.create_task(edge(dict(SCOPE), receive, send))
        await asyncio.sleep(0)
        request.cancel()
        await request
        assert counted == [200 if begins else 503]

    asyncio.run(main())
    return sent


def test_a_request_that_the_end_cuts_off_is_told_so() -> None:
    start, body, end = messages_of_cancelled(begins=False)
    assert start["status"] == 503
    assert json.loads(body["body"])["error"]["code"] == "shutting_down"
    assert end["more_body"] is False


def test_an_answer_that_has_begun_just_ends() -> None:
    assert [message["type"] for message in messages_of_cancelled(begins=True)] == [
        "http.response.start"
    ]
