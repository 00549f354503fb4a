"""What is remembered of prompts to compare later ones with: whose it is, and until when."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.api.live import Live, start
from tests.api.test_cache import chat


def told(server: Live, messages: list[dict[str, Any]], key: str = "", id: str = "previous") -> Any:
    options = {"comparison_response_id": id}
    body = {"messages": messages, "max_tokens": 4, "seed": 1, "prompt_cache_options": options}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    response = server.post("/v1/chat/completions", body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()["prompt_cache_diagnostics"], response.json()["id"]


def test_nobody_compares_with_what_another_key_asked(model: Path) -> None:
    with start(model, server__api_keys=("one", "other")) as server:
        asked = chat("Mine")
        nothing, id = told(server, asked, "one")
        assert nothing == {"type": "comparison_response_not_found"}
        assert told(server, asked, "other", id)[0] == nothing
        assert told(server, asked, "one", id)[0]["type"] == "cache_hit"
        with server.client(headers={"x-api-key": "one"}) as client:
            client.delete("/v1/cache")
        assert told(server, asked, "one", id)[0] == nothing
        assert told(server, asked, "other")[0]["type"] == "cache_hit"


def test_a_team_that_shares_compares_and_is_not_told_each_others_words(model: Path) -> None:
    def asked(minute: str) -> list[dict[str, Any]]:
        return [{"role": "system", "content": f"At 10:{minute} we begin."}, *chat("Ours")]

    with start(model, server__api_keys=("one", "other"), server__cache_sharing="all") as server:
        _, id = told(server, asked("00"), "one")
        assert told(server, asked("00"), "other", id)[0]["type"] == "cache_hit"
        found, _ = told(server, asked("15"), "other")
        assert (found["cause"], found["now"]) == ("system_changed", "15 we begin.")
        assert found["before"] == ""
    with start(model, server__api_keys=("one",), server__cache_sharing="all") as server:
        told(server, asked("00"), "one")
        assert told(server, asked("15"), "one")[0]["before"].startswith("00 we begin.")


def test_with_the_cache_off_nothing_is_compared(model: Path) -> None:
    with start(model, engine__prefix_cache="off") as server:
        for _ in range(2):
            assert told(server, chat("Nobody's"))[0] == {"type": "unavailable"}


def test_what_the_engine_has_lost_is_told_apart_from_what_has_changed(model: Path) -> None:
    with start(model) as server:
        _, id = told(server, chat("Kept"))
        os.kill(server.engine_pid(), signal.SIGKILL)
        server.until("restarted", lambda: server.metrics()["cierzo_engine_restarts_total"] == 1)
        found, _ = told(server, chat("Kept"))
        assert (found["type"], found["reason"]) == ("cache_miss", "not_kept")
        assert found["comparison_response_id"] == id
        assert "param" not in found
        assert "before" not in found
        counted = server.metrics()['cierzo_missed_tokens_total{reason="not_kept"}']
        assert counted == found["cache_missed_tokens"] > 100


def test_many_tokens_are_a_warning_but_not_each_time(model: Path) -> None:
    with start(model) as server:
        for minute in range(4):
            system = {"role": "system", "content": f"At 10:0{minute}. " + "wind " * 1_200}
            told(server, [system, *chat("Often")])
        server.until("told", lambda: sum("missed in" in line for line in server.lines) == 3)
    lines = [line for line in server.lines if "prompt missed in the cache" in line]
    assert [" warning " in line for line in lines] == [True, False, False]


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_early_is_compared_with_too(model: Path, stream: bool) -> None:
    with start(model) as server:
        body = {"messages": chat("Left"), "stream": True, "seed": 1}
        with (
            server.client() as client,
            client.stream("POST", "/v1/chat/completions", json=body) as response,
        ):
            id = response.headers["x-generation-id"]
            next(line for line in response.iter_lines() if "content" in line)
        server.until_idle()
        assert told(server, chat("Left"))[0]["comparison_response_id"] == id
