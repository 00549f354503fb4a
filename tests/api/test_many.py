"""Many answers at once, with and without a schema: several choices, lists of prompts, crowds."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from tests.api.live import HELLO, NO_END, Live, send_chat, start
from tests.api.openai.test_structured_output import DISTINCT, POINT, wanted
from tests.api.tools import TOOLS, check_calls, joined, stream

CHAT = "/v1/chat/completions"
FOUR = 4
MANY = 256


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Live]:
    """One that waits for clients as long as 256 of them may take on a machine that is busy."""
    with start(model, limits__request_seconds=3_600) as server:
        yield server


@pytest.mark.parametrize("schema", [POINT, DISTINCT], ids=["by mask", "verified"])
@pytest.mark.parametrize("seed", range(2))
def test_choices_under_a_schema(server: Live, schema: dict[str, Any], seed: int) -> None:
    """Each is valid, the stream has the same ones, and the first is the one that is asked alone."""
    body = {"messages": HELLO, "response_format": wanted(schema), "max_tokens": 300, "seed": seed}
    whole = server.post(CHAT, {**body, "n": FOUR}).json()["choices"]
    assert [choice["index"] for choice in whole] == list(range(FOUR))
    texts = [choice["message"]["content"] for choice in whole]
    for text, choice in zip(texts, whole, strict=True):
        jsonschema.validate(json.loads(text), schema)
        assert choice["finish_reason"] == "stop"
    assert len(set(texts)) > 1
    chunks = stream(server, {**body, "n": FOUR})
    assert [joined(chunks, index)["message"]["content"] for index in range(FOUR)] == texts
    assert server.post(CHAT, body).json()["choices"][0]["message"]["content"] == texts[0]
    server.until_idle()


@pytest.mark.parametrize("seed", range(2))
def test_choices_that_call_tools(server: Live, seed: int) -> None:
    body = {"messages": HELLO, "tools": TOOLS, "tool_choice": "required", "max_tokens": 600}
    body |= {"seed": seed, "n": FOUR}
    whole = server.post(CHAT, body).json()["choices"]
    ids: list[str] = []
    for index, choice in enumerate(whole):
        assert choice["index"] == index
        assert choice["finish_reason"] == "tool_calls"
        assert check_calls(choice["message"])
        ids += [call["id"] for call in choice["message"]["tool_calls"]]
    assert len(set(ids)) == len(ids)
    chunks = stream(server, body)
    for index, choice in enumerate(whole):
        again = joined(chunks, index)["message"]
        assert check_calls(again) == check_calls(choice["message"])
    server.until_idle()


def test_choices_none_of_which_can_be_found_are_one_error(server: Live) -> None:
    never = {**DISTINCT, "contains": {"const": 9}}
    body = {"messages": HELLO, "response_format": wanted(never), "max_tokens": 300, "n": FOUR}
    response = server.post(CHAT, body)
    assert response.status_code in (400, 422)
    assert len(response.json()["error"]["message"]) < 1_000
    server.until_idle()


def test_a_client_that_leaves_takes_all_its_choices_along(server: Live) -> None:
    long = {"type": "string", "minLength": 19_000}
    body = {"messages": HELLO, "response_format": wanted(long), "max_tokens": 30_000, "n": FOUR}
    with (
        server.client() as client,
        client.stream("POST", CHAT, json={**body, "stream": True}) as response,
    ):
        lines = (line for line in response.iter_lines() if line.startswith("data:"))
        for _ in range(10):
            next(lines)
        server.until("running", lambda: server.metrics()["cierzo_requests_running"] == FOUR)
    server.until_idle()


def test_clients_that_leave_before_their_schemas_are_read(server: Live) -> None:
    """Nothing is made for them any more, and who stays is answered."""
    names = [f"name {number}" for number in range(300)]
    large = {"type": "object", "properties": {name: {"enum": names} for name in names[:99]}}
    for _ in range(MANY // 4):
        with server.connect() as connection:
            linger = struct.pack("ii", 1, 0)  # closed with a reset
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            send_chat(connection, {"messages": HELLO, "response_format": wanted(large)})
    body = {"messages": HELLO, "response_format": wanted({**POINT, "title": "x" * 70_000})}
    response = server.post(CHAT, {**body, "max_tokens": 300})
    assert response.status_code == 200
    jsonschema.validate(json.loads(response.json()["choices"][0]["message"]["content"]), POINT)
    server.until_idle()
    assert not [line for line in server.lines if "Traceback" in line]


def test_as_many_prompts_as_a_request_may_have(server: Live) -> None:
    prompts = [f"The wind {number}" for number in range(MANY)]
    body = {"prompt": prompts, "max_tokens": 3, "temperature": 0, "logit_bias": NO_END}
    response = server.post("/v1/completions", body)
    assert response.status_code == 200, response.text
    choices = response.json()["choices"]
    assert [choice["index"] for choice in choices] == list(range(MANY))
    for index in (0, 100, MANY - 1):
        alone = server.post("/v1/completions", {**body, "prompt": prompts[index]}).json()
        assert alone["choices"][0]["text"] == choices[index]["text"]
    assert response.json()["usage"]["completion_tokens"] == 3 * MANY
    server.until_idle()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_crowd_of_clients(server: Live, streamed: bool) -> None:
    """Each gets what it would have got alone, with a schema or without, all at the same time."""
    plain = {"messages": HELLO, "max_tokens": 4, "logit_bias": NO_END}
    bound = {"messages": HELLO, "max_tokens": 300, "response_format": wanted(POINT)}
    checked = {"messages": HELLO, "max_tokens": 300, "response_format": wanted(DISTINCT)}
    kinds = [{**body, "seed": seed} for body in (plain, plain, bound, checked) for seed in (1, 2)]
    alone = [server.post(CHAT, body).json()["choices"][0]["message"]["content"] for body in kinds]

    async def one(client: httpx.AsyncClient, number: int) -> str:
        body = kinds[number % len(kinds)]
        if not streamed:
            response = await client.post(CHAT, json=body)
            assert response.status_code == 200, response.text
            text: str = response.json()["choices"][0]["message"]["content"]
            return text
        events = await client.post(CHAT, json={**body, "stream": True})
        lines = [line for line in events.text.split("\n") if line.startswith("data: {")]
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
        return str(joined(chunks)["message"]["content"])

    async def crowd() -> list[str]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server.url, timeout=300, limits=limits) as client:
            return await asyncio.gather(*(one(client, number) for number in range(MANY)))

    answers = asyncio.run(crowd())
    assert answers == [alone[number % len(kinds)] for number in range(MANY)]
    server.until_idle()
