"""llm, Simon Willison's command: text, a schema, and a tool, as its own pages set a server up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.live import Live
from tests.clients.questions import INTRODUCTION, SERVED

TOOL = '''
def weather(city: str) -> str:
    """Says what the weather is like in a city."""
    return f"sunny in {city}"
'''


@pytest.fixture
def home(server: Live, tmp_path: Path) -> Path:
    settings = (
        f"- model_id: here\n  model_name: {SERVED}\n  api_base: {server.url}/v1\n"
        "  supports_schema: true\n  supports_tools: true\n"
    )
    (tmp_path / "extra-openai-models.yaml").write_text(settings)
    return tmp_path


def run(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "llm", *arguments],
        env={**os.environ, "LLM_USER_PATH": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout


def test_text_streamed_and_whole(home: Path) -> None:
    asked = ("-m", "here", "-n", "-o", "temperature", "0", "-o", "max_tokens", "20")
    question = "What is the capital of France? Answer in one sentence."
    streamed = run(home, *asked, question)
    assert "Paris" in streamed
    assert run(home, *asked, "--no-stream", "-s", "Be brief.", question)
    assert run(home, *asked, "--no-stream", question) == streamed


def test_a_schema_is_kept(home: Path) -> None:
    schema = '{"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, '
    schema += '"age": {"type": "integer", "minimum": 0, "maximum": 120}}, "required": ["name"], '
    schema += '"additionalProperties": false}'
    told = run(home, "-m", "here", "-n", "-o", "seed", "1", "--schema", schema, INTRODUCTION)
    person = json.loads(told)
    assert isinstance(person["name"], str)
    # Its own short way to write one allows further properties, so the answer need not have ended.
    bounds = ("-o", "max_tokens", "200", "-o", "seed", "1", "-o", "temperature", "0")
    told = run(home, "-m", "here", "-n", *bounds, "--schema", "age int", "Jason")
    assert told.startswith("{")


def test_a_tool_is_called_and_the_conversation_goes_on(home: Path) -> None:
    """The second turn has the first one's calls and results in its history."""
    asked = ("-m", "here", "-o", "max_tokens", "60", "-o", "seed", "3", "--functions", TOOL)
    run(home, *asked, "--chain-limit", "2", "--td", "What is the weather?")
    assert run(home, "-c", "-o", "max_tokens", "20", "And tomorrow?")
