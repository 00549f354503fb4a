"""A session that an agent once had: every beginning of it is a request that is answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.live import Live, start

SESSION = Path(__file__).parents[1] / "data" / "marshmallow-1867.json"
MESSAGES: list[Any] = json.loads(SESSION.read_text())["messages"]


def _tool(name: str, **parameters: str) -> dict[str, Any]:
    properties = {key: {"type": kind} for key, kind in parameters.items()}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


# What the session's calls show of the agent's tools.
TOOLS = [
    _tool("create", filename="string"),
    _tool("edit", replacement_text="string", start_line="integer", end_line="integer"),
    _tool("bash", command="string"),
    _tool("find_file", file_name="string", dir="string"),
    _tool("open", path="string", line_number="integer"),
    _tool("submit"),
]


@pytest.fixture(scope="module")
def roomy(random_model: Path) -> Iterator[Live]:
    with start(
        random_model,
        engine__max_model_len=40_960,
        engine__kv_cache_memory_mb=256,
        engine__threads=2,
    ) as live:
        yield live


def test_the_tools_are_the_session_s() -> None:
    calls = [call for message in MESSAGES for call in message.get("tool_calls", [])]
    called = {call["function"]["name"]: json.loads(call["function"]["arguments"]) for call in calls}
    known = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
    assert {name: set(arguments) for name, arguments in called.items()} == {
        name: set(schema["properties"]) for name, schema in known.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat/completions"])
def test_every_beginning_is_a_request(roomy: Live, path: str) -> None:
    """Whole and streamed, with its tools: and both say the same."""
    before = 0
    with roomy.client() as client:
        for end in range(1, len(MESSAGES) + 1):
            body = {"messages": MESSAGES[:end], "tools": TOOLS, "max_tokens": 2, "seed": 1}
            answer = client.post(path, json=body)
            assert answer.status_code == 200, (end, answer.text)
            whole = answer.json()
            streamed = client.post(
                path, json={**body, "stream": True, "stream_options": {"include_usage": True}}
            )
            assert streamed.status_code == 200, (end, streamed.text)
            assert streamed.text.endswith("data: [DONE]\n\n")
            events = [
                json.loads(line.removeprefix("data: "))
                for line in streamed.text.splitlines()
                if line.startswith("data: {")
            ]
            deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
            text = "".join(delta.get("content") or "" for delta in deltas)
            assert text == (whole["choices"][0]["message"]["content"] or "")
            (usage,) = [event["usage"] for event in events if event.get("usage")]
            found = usage.pop("prompt_tokens_details")["cached_tokens"]
            assert found == usage["prompt_tokens"] - 1  # the whole one had it read
            del whole["usage"]["prompt_tokens_details"]
            assert usage == whole["usage"]
            assert usage["prompt_tokens"] >= before  # nothing of the history is dropped
            before = usage["prompt_tokens"]
