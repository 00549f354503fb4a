"""Many clients at once, clients that leave, and more than the queue holds."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.api.live import HELLO, NO_END, Live, send_chat, start

ENDLESS: dict[str, Any] = {"messages": HELLO, "max_tokens": 30_000, "logit_bias": NO_END}


def running(server: Live) -> bool:
    return server.metrics()["cierzo_requests_running"] >= 1


def cancelled(server: Live) -> float:
    return server.metrics()['cierzo_requests_total{outcome="cancelled"}']


def test_sixteen_clients_at_once_all_finish(server: Live) -> None:
    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:

            async def one(seed: int) -> str:
                fields: Any = {"model": "tiny", "messages": HELLO, "seed": seed, "max_tokens": 50}
                if seed % 2:
                    answer = await client.chat.completions.create(**fields)
                    return answer.choices[0].message.content or ""
                chunks = await client.chat.completions.create(**fields, stream=True)
                return "".join([c.choices[0].delta.content or "" async for c in chunks])

            return await asyncio.gather(*(one(seed) for seed in range(16)))

    together = asyncio.run(all_of_them())
    alone = [
        server.chat(seed=seed, max_tokens=50).json()["choices"][0]["message"]["content"]
        for seed in range(16)
    ]
    assert together == alone
    server.until_idle()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat/completions"])
@pytest.mark.parametrize("n", [1, 3])
def test_leaving_a_stream_frees_its_blocks(server: Live, path: str, n: int) -> None:
    before = cancelled(server)
    with (
        server.client() as client,
        client.stream("POST", path, json={**ENDLESS, "stream": True, "n": n}) as response,
    ):
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        server.until("running", lambda: running(server))
        assert server.metrics()["cierzo_cache_blocks_used"] > 0
    server.until_idle()
    assert cancelled(server) == before + n


@pytest.mark.parametrize("n", [1, 3])
def test_leaving_before_a_whole_answer_frees_its_blocks(server: Live, n: int) -> None:
    before = cancelled(server)
    with server.connect() as connection:
        send_chat(connection, {**ENDLESS, "n": n})
        server.until("running", lambda: running(server))
    server.until_idle()
    assert cancelled(server) == before + n


def test_leaving_a_list_of_prompts_ends_them_all(server: Live) -> None:
    before = cancelled(server)
    body = {"prompt": ["a"] * 80, "max_tokens": 30_000, "logit_bias": NO_END, "stream": True}
    with (
        server.client() as client,
        client.stream("POST", "/v1/completions", json=body) as response,
    ):
        next(response.iter_lines())
    server.until_idle()
    assert cancelled(server) > before


def test_a_full_queue_asks_to_come_back(model: Path) -> None:
    with (
        start(model, engine__max_queue=1, engine__max_batch_sequences=1) as server,
        server.connect() as first,
        server.connect() as second,
    ):
        for connection in (first, second):
            send_chat(connection, ENDLESS)

        def full() -> bool:
            now = server.metrics()
            return now["cierzo_requests_running"] == now["cierzo_requests_waiting"] == 1

        server.until("full", full)
        for stream in (False, True):
            answer = server.chat(stream=stream)
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == "queue_full"
        assert server.health() == (200, "ready")
        first.close()
        second.close()
        server.until_idle()
        assert server.chat(max_tokens=1).status_code == 200


def test_a_long_wait_is_filled_with_comments(server: Live) -> None:
    """Headers and a comment go out after a second, also while the engine cannot answer."""
    engine = server.engine_pid()
    with server.connect() as connection:
        os.kill(engine, signal.SIGSTOP)
        try:
            send_chat(connection, {"messages": HELLO, "max_tokens": 1, "stream": True})
            data = b""
            while b"PROCESSING" not in data:
                data += connection.recv(65_536)
        finally:
            os.kill(engine, signal.SIGCONT)
        assert data.startswith(b"HTTP/1.1 200 ")
        assert b"data: " not in data
        while b"[DONE]" not in data:
            data += connection.recv(65_536)
    assert b"\n: OPENROUTER PROCESSING\n\n" in data
