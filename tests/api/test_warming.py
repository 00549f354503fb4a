"""`--warm`: prompts of a file are in the cache before anybody asks for them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cierzo.api import warming
from cierzo.api.warming import read_prompts
from cierzo.settings import SettingsError, load_settings
from tests.api.live import HELLO, Live, start
from tests.api.test_cache import LONG, cached, chat, usage
from tests.api.tools import TOOLS

ONE, OTHER = chat("one"), chat("other")


def write(path: Path, *bodies: Any, indent: int | None = None) -> str:
    path.write_text("\n".join(json.dumps(body, indent=indent) for body in bodies))
    return str(path)


def warmed(server: Live, number: int) -> list[str]:
    """What the log says of prompts, once so many are read."""

    def lines() -> list[str]:
        return [line for line in server.lines if "into the cache" in line or "not read" in line]

    server.until("prompts are read", lambda: any("all prompts read" in x for x in server.lines))
    assert len(lines()) == number
    return lines()


def test_prompts_are_found_by_the_first_who_asks(model: Path, tmp_path: Path) -> None:
    asked = {"messages": ONE, "tools": TOOLS, "tool_choice": "auto", "n": 2, "logprobs": True}
    formed = {"messages": OTHER, "response_format": {"type": "json_object"}, "stream": True}
    file = write(tmp_path / "prompts", asked, formed)
    with start(model, server__warm=file) as server:
        first, second = warmed(server, 2)
        assert re.search(r"line=1 number=1/2 tokens=\d+ cached=0", first), first
        assert re.search(r"line=2 number=2/2 tokens=\d+ cached=", second), second
        with server.client() as client:
            assert 'cierzo_requests_total{outcome="length"} 0.0' in client.get("/metrics").text
        taken = usage(server, ONE, tools=TOOLS)
        assert cached(taken) == taken["prompt_tokens"] - 1
        taken = usage(server, OTHER)
        assert cached(taken) == taken["prompt_tokens"] - 1


def test_each_key_finds_them(model: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "prompts", {"messages": ONE}, indent=2)
    with start(model, server__warm=file, server__api_keys=("one", "other")) as server:
        warmed(server, 2)
        for key in ("one", "other"):
            taken = usage(server, ONE, key)
            assert cached(taken) == taken["prompt_tokens"] - 1


def test_keys_that_share_need_them_once(model: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "prompts", {"messages": ONE})
    keys = ("one", "other")
    with start(
        model, server__warm=file, server__cache_sharing="all", server__api_keys=keys
    ) as server:
        warmed(server, 1)
        assert cached(usage(server, ONE, "other")) > 0


def test_what_does_not_fit_is_told_and_the_rest_is_read(model: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "prompts", {"messages": chat(LONG * 20)}, {"messages": ONE})
    with start(model, server__warm=file, engine__max_model_len=2_048) as server:
        first, second = warmed(server, 2)
        assert "warning" in first
        assert "line=1" in first
        assert "2048" in first or "2,048" in first
        assert "line=2" in second
        assert cached(usage(server, ONE)) > 0


def test_others_go_first(model: Path, tmp_path: Path) -> None:
    """A prompt steps back for them, is read later, and costs no more for it than a block."""
    prompts = [{"messages": chat(f"{number}{LONG * 12}")} for number in range(6)]
    with start(model, server__warm=write(tmp_path / "prompts", *prompts)) as server:
        others = [server.chat(messages=HELLO, max_tokens=1).json()["usage"] for _ in range(4)]
        lines = warmed(server, 6)
        read = sum(int(found[1]) for line in lines if (found := re.search(r"tokens=(\d+)", line)))
        assert read > 6 * 1_000
        most = read + sum(usage["prompt_tokens"] for usage in others) + 4 * 32
        assert server.metrics()["cierzo_computed_tokens_total"] <= most
        for prompt in prompts:
            taken = usage(server, prompt["messages"])
            assert cached(taken) == taken["prompt_tokens"] - 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no request"),
        ("\n\n", "holds no request"),
        ('{"messages": []}', "line 1: messages: "),
        ('{"messages": [{"role": "user", "content": "a"}]}\n\n{"prompt": "a"}', "line 3: "),
        ('{"messages": [{"role": "user", "content": "a"}]}\n{"messages"', "line 2: the JSON is"),
        ('{"messages": [{"role": "user", "content": "a"}], "tools": [7]}', "line 1: tools[0]"),
        ('{\n"messages":\n7}', "line 1: messages: "),
        ("[]", "line 1: "),
        ("hello\nworld", "line 1: the JSON is malformed"),
    ],
)
def test_a_line_that_is_no_request_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "prompts"
    path.write_text(text)
    settings, _ = load_settings({"server.warm": str(path)}, environment={}, files=())
    with pytest.raises(SettingsError, match=re.escape(problem)) as raised:
        read_prompts(settings)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_file_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, _ = load_settings({"server.warm": str(tmp_path / "no")}, environment={}, files=())
    with pytest.raises(SettingsError, match="cannot be read"):
        read_prompts(settings)
    (tmp_path / "no").write_text(json.dumps({"messages": ONE}))
    assert len(read_prompts(settings)) == 1
    monkeypatch.setattr(warming, "FILE_BYTES", 10)
    with pytest.raises(SettingsError, match="larger than 10 bytes"):
        read_prompts(settings)
