"""Prompts that come again are found in the cache, by whoever may find them, and are counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.live import Live, start
from tests.api.tools import TOOLS

LONG = "The wind of the Ebro valley blows from the north-west. " * 20


def chat(name: str) -> list[dict[str, Any]]:
    """A long prompt that no other test has."""
    return [{"role": "user", "content": f"{name}: {LONG}"}]


CHAT = chat("A session")


@pytest.fixture(scope="module")
def keyed(model: Path) -> Iterator[Live]:
    """A server with two keys."""
    with start(model, server__api_keys=("one", "other")) as server:
        yield server


def usage(server: Live, messages: list[dict[str, Any]], key: str = "", **fields: Any) -> Any:
    """What a request took; the server has not to be asked for it."""
    body = {"messages": messages, "max_tokens": 4, "seed": 1, **fields}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    response = server.post("/v1/chat/completions", body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()["usage"]


def cached(taken: Any) -> int:
    details = taken["prompt_tokens_details"]
    assert details["cached_tokens"] + details["cache_write_tokens"] == taken["prompt_tokens"]
    count: int = details["cached_tokens"]
    return count


def test_a_session_goes_on_where_it_was(model: Path) -> None:
    with start(model) as server:
        assert cached(usage(server, CHAT)) == 0
        again = usage(server, CHAT)
        assert cached(again) == again["prompt_tokens"] - 1
        answer = server.post("/v1/chat/completions", {"messages": CHAT, "max_tokens": 4, "seed": 1})
        said = answer.json()["choices"][0]["message"]["content"]
        history = [
            *CHAT,
            {"role": "assistant", "content": said},
            {"role": "user", "content": "On."},
        ]
        assert cached(usage(server, history)) >= again["prompt_tokens"] - 1
        metrics = server.metrics()
        assert metrics["cierzo_cached_tokens_total"] > 2 * (again["prompt_tokens"] - 1)
        assert metrics["cierzo_cache_blocks_kept"] > 0
        assert metrics["cierzo_cache_blocks_used"] == 0


@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS}, {"stream": True}, {"n": 2}])
def test_a_prompt_can_be_read_before_it_is_asked(keyed: Live, fields: dict[str, Any]) -> None:
    text = chat(str(fields))
    body = {"messages": text, "max_tokens": 0, **fields}
    read = keyed.post("/v1/chat/completions", body, headers={"x-api-key": "one"})
    assert read.status_code == 200, read.text
    if "stream" not in fields:
        answer = read.json()
        assert answer["usage"]["completion_tokens"] == 0
        assert all(not choice["message"]["content"] for choice in answer["choices"])
        assert {choice["finish_reason"] for choice in answer["choices"]} == {"length"}
    tools = {name: fields[name] for name in ("tools",) if name in fields}
    asked = usage(keyed, text, "one", **tools)
    assert cached(asked) == asked["prompt_tokens"] - 1


def test_nobody_finds_what_another_key_asked(keyed: Live) -> None:
    text = chat("Nobody's")
    assert cached(usage(keyed, text, "one")) < 50  # what the template says before it
    assert cached(usage(keyed, text, "other")) < 50
    assert cached(usage(keyed, text, "one")) > 100


def test_a_team_may_share(model: Path) -> None:
    with start(model, server__api_keys=("one", "other"), server__cache_sharing="all") as server:
        usage(server, CHAT, "one")
        assert cached(usage(server, CHAT, "other")) > 100


def test_delete_forgets_ones_own(keyed: Live) -> None:
    text = chat("Mine")
    for key in ("one", "other"):
        usage(keyed, text, key)
    with keyed.client(headers={"x-api-key": "one"}) as client:
        deleted = client.delete("/v1/cache")
        assert deleted.status_code == 200
        assert deleted.json()["object"] == "cache.deleted"
        assert deleted.json()["deleted_tokens"] > 100
        assert client.delete("/v1/cache").json()["deleted_tokens"] == 0
        assert client.get("/v1/cache").status_code == 405
    with keyed.client() as client:
        assert client.delete("/v1/cache").status_code == 401
    assert cached(usage(keyed, text, "one")) == 0
    assert cached(usage(keyed, text, "other")) > 100


def test_who_asks_for_it_leaves_nothing(keyed: Live) -> None:
    text = chat("Nothing of this")
    taken = usage(keyed, text, "one", provider={"zdr": True})["prompt_tokens_details"]
    assert taken["cache_write_tokens"] == 0
    assert cached(usage(keyed, text, "one", provider={"zdr": False})) < 50
    again = usage(keyed, text, "one", provider={"zdr": True})["prompt_tokens_details"]
    assert again["cached_tokens"] > 100  # what others left may be used


def test_with_the_cache_off_nothing_is_found_or_promised(model: Path) -> None:
    with start(model, engine__prefix_cache="off") as server:
        for _ in range(2):
            details = usage(server, CHAT)["prompt_tokens_details"]
            assert details == {"cached_tokens": 0, "cache_write_tokens": 0}
        with server.client() as client:
            model_of = client.get("/api/v1/models").json()["data"][0]
            (endpoint,) = client.get(model_of["links"]["details"]).json()["data"]["endpoints"]
        assert endpoint["supports_implicit_caching"] is False


def test_the_fingerprint_names_what_the_bits_follow_from(model: Path) -> None:
    fingerprints = set()
    for dtype in ("int16", "int8"):
        with start(model, engine__kv_cache_dtype=dtype) as server:
            fingerprints.add(server.chat(max_tokens=1).json()["system_fingerprint"])
    assert len(fingerprints) == 2


@pytest.mark.parametrize("known", [True, False])
def test_what_a_session_rewrote_makes_room_for_others(model: Path, known: bool) -> None:
    with start(model, engine__kv_cache_memory_mb=1, engine__max_model_len=512) as server:
        assert server.metrics()["cierzo_cache_blocks_total"] == 31
        shared, own = 64, 286  # tokens: there is room for three prompts of 11 blocks, not for four

        def found(first: int, **session: Any) -> int:
            prompt = [100] * shared + [first + at % 50 for at in range(own)]
            body = {"prompt": prompt, "max_tokens": 1, "seed": 1, **session}
            response = server.post("/v1/completions", body)
            assert response.status_code == 200, response.text
            details = response.json()["usage"]["prompt_tokens_details"]
            count: int = details["cached_tokens"]
            return count

        session = {"session_id": "s"} if known else {}
        found(200)
        found(300, **session)
        found(400, **session)
        found(455)
        assert (found(200) == shared + own - 1) == known
