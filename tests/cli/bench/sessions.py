"""A short recorded session for tests, in OpenAI's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def call(name: str, arguments: str, call_id: str) -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


SESSION: list[dict[str, Any]] = [
    {"role": "system", "content": "Mend the program."},
    {"role": "user", "content": [{"type": "text", "text": "It prints 344."}]},
    {"role": "assistant", "content": "I look.", "tool_calls": [call("sh", '{"c": "ls"}', "a-1")]},
    {"role": "tool", "content": "a.py", "tool_call_id": "a-1"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [call("sh", '{"c": "cat a.py"}', "a-2"), call("sh", "{}", "a-3")],
        "reasoning_content": "Hm.",
    },
    {"role": "tool", "content": "print(344)", "tool_call_id": "a-2"},
    {"role": "tool", "content": "", "tool_call_id": "a-3"},
    {"role": "user", "content": "Go on."},
    {"role": "assistant", "content": "Done."},
]
TOOLS = [{"type": "function", "function": {"name": "sh", "parameters": {"type": "object"}}}]


def write_session(folder: Path, **fields: Any) -> Path:
    path = folder / "session.json"
    path.write_text(json.dumps({"messages": SESSION, **fields}))
    return path
