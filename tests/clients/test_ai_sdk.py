"""Vercel's AI SDK, on which opencode, Cline and many applications stand: its three providers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.api.live import ROOT, Live
from tests.clients.questions import KEY, ROUTED, SERVED

PACKAGES = ROOT / ".venv-clients" / "node"
SCRIPT = Path(__file__).with_name("ai_sdk.mjs").read_text(encoding="utf-8")
NODE = shutil.which("node")
MODELS = {"compatible": SERVED, "openai": SERVED, "openrouter": ROUTED}

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no Node")
provider = pytest.mark.parametrize("provider", MODELS)


def run(server: Live, provider: str, work: str, key: str = "none") -> Any:
    """What the script prints. It is read from its input, so that it finds the packages."""
    assert NODE is not None
    told = {"provider": provider, "url": server.url, "model": MODELS[provider], "key": key}
    done = subprocess.run(
        [NODE, "--input-type=module"],
        input=SCRIPT,
        cwd=PACKAGES,
        env={**os.environ, "CIERZO_TEST": json.dumps(told), "CIERZO_WORK": work},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return json.loads(done.stdout)


@provider
def test_text_whole_and_in_a_stream(server: Live, provider: str) -> None:
    found = run(server, provider, "text")
    assert found["text"]
    assert found["text"] == found["streamed"]
    assert found["finish"] == found["finishStreamed"] in ("stop", "length")
    for usage in (found["usage"], found["usageStreamed"]):
        assert 1 <= usage["outputTokens"] <= 12
        assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]


@provider
def test_tools_are_called_in_a_loop(server: Live, provider: str) -> None:
    found = run(server, provider, "calls")
    (call,) = found["calls"]
    assert call["toolName"] == "weather"
    assert call["input"]["city"] in ("Paris", "Zaragoza", "Oslo")
    assert found["results"] == [{"city": call["input"]["city"], "degrees": 21, "sky": "sunny"}]
    assert found["streamed"] == found["calls"]
    assert "tool-input-delta" in found["parts"]
    assert "error" not in found["parts"]
    assert found["finish"] == "tool-calls"
    assert found["steps"] == 2
    assert found["last"] in ("stop", "length")
    assert found["closing"]


@provider
def test_an_object_has_its_schema(server: Live, provider: str) -> None:
    found = run(server, provider, "object")
    assert found["object"] == found["streamed"]
    assert set(found["object"]) == {"name", "age", "mood"}
    assert 0 <= found["object"]["age"] <= 120
    assert found["object"]["mood"] in ("glad", "calm", "sad")


@provider
def test_a_long_prompt_is_an_error_that_says_so(guarded: Live, provider: str) -> None:
    found = run(guarded, provider, "tooLong", KEY)
    assert found["known"]
    assert found["status"] == 400
    assert "maximum context length is 512 tokens" in found["text"]
