"""Tools for the tests of calls, and what every answer that calls them must keep to."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from tests.api.live import Live
from tests.api.openai.test_chat import events

BASH: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "bash",
        "description": "Run a command",
        "parameters": {
            "type": "object",
            "properties": {
                "command": {"type": "string", "maxLength": 12},
                "seconds": {"type": "integer", "minimum": 1, "maximum": 60},
            },
            "required": ["command", "seconds"],
            "additionalProperties": False,
        },
    },
}
PICK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "pick",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"one": {"enum": ["red", "green", None]}},
            "required": ["one"],
            "additionalProperties": False,
        },
    },
}
NOW: dict[str, Any] = {"type": "function", "function": {"name": "now"}}
TOOLS = [BASH, PICK, NOW]
PARAMETERS = {
    tool["function"]["name"]: tool["function"].get("parameters", {"type": "object"})
    for tool in TOOLS
}


def check_calls(message: dict[str, Any]) -> list[tuple[str, Any]]:
    """Name and arguments of the calls, each of which must be one that its tool takes."""
    found = []
    for call in message.get("tool_calls", []):
        assert call["type"] == "function"
        assert len(call["id"]) == 9
        assert call["id"].isalnum()
        name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
        jsonschema.validate(arguments, PARAMETERS[name])
        # The one spelling that the history encoder writes.
        assert call["function"]["arguments"] == json.dumps(arguments, ensure_ascii=False)
        found.append((name, arguments))
    return found


def joined(chunks: list[dict[str, Any]], index: int = 0) -> dict[str, Any]:
    """A stream's chunks as clients put them together: one choice of a whole answer."""
    message: dict[str, Any] = {"content": ""}
    calls: list[dict[str, Any]] = []
    finish = None
    for chunk in chunks:
        for choice in chunk["choices"]:
            if choice["index"] != index:
                continue
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            for call in delta.get("tool_calls", []):
                if call["index"] == len(calls):
                    assert call["function"]["arguments"] == ""
                    assert set(call) == {"index", "id", "type", "function"}
                    calls.append({**call, "function": dict(call["function"])})
                else:
                    assert call["index"] == len(calls) - 1, "calls come one after another"
                    assert set(call) == {"index", "function"}
                    assert set(call["function"]) == {"arguments"}
                    calls[-1]["function"]["arguments"] += call["function"]["arguments"]
            if choice["finish_reason"]:
                assert finish is None
                finish = choice["finish_reason"]
    for call in calls:
        del call["index"]
    if calls:
        message["tool_calls"] = calls
    return {"message": message, "finish_reason": finish}


def stream(server: Live, body: dict[str, Any], path: str = "/v1") -> list[dict[str, Any]]:
    """The chunks of a stream."""
    response = server.post(f"{path}/chat/completions", {**body, "stream": True})
    assert response.status_code == 200, response.text
    return events(response.text)
