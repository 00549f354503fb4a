"""Sessions of a coding agent as it sends them: tools, and a history that grows by a call a turn.

The calls are of a few tools and in the forms that agents use, results are stretches of the standard
library's source. Sessions of different seeds differ from their first line on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from importlib import import_module
from inspect import getsource
from typing import Any

_MODULES = (
    *("argparse", "ast", "decimal", "difflib", "doctest", "inspect", "optparse", "pdb"),
    *("pickletools", "smtplib", "subprocess", "tarfile", "threading", "turtle", "typing"),
)
_NAMES = (
    *("bash", "edit", "glob", "grep", "read", "write", "task", "todo_write", "web_fetch"),
    *("web_search", "notebook_edit", "list", "move", "delete", "diagnostics", "definition"),
    *("references", "rename", "plan_enter", "plan_exit"),
)
_WORDS = "the file path of which what is asked for must be absolute unless a directory is given"


def tools() -> list[dict[str, Any]]:
    """Twenty of them, with descriptions and schemas as long as those of agents."""
    rng = random.Random(0)
    return [_tool(name, rng) for name in _NAMES]


def _tool(name: str, rng: random.Random) -> dict[str, Any]:
    kinds: tuple[dict[str, Any], ...] = (
        {"type": "string"},
        {"type": "boolean"},
        {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
        {"type": "string", "enum": ["content", "files_with_matches", "count"]},
        {"type": "array", "items": {"type": "string"}},
        {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "string"}}}},
    )
    properties = {"path": {"type": "string", "description": _text(rng, 12)}}
    for place, kind in enumerate(rng.sample(kinds, rng.randrange(1, 5))):
        properties[f"option_{place}"] = {**kind, "description": _text(rng, 14)}
    parameters = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": ["path"],
        "additionalProperties": False,
    }
    function = {"name": name, "description": _text(rng, 150), "parameters": parameters}
    return {"type": "function", "function": function}


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS.split(), k=words)).capitalize() + "."


def session(seed: int) -> Iterator[list[dict[str, Any]]]:
    """What a session sends first, and then adds turn by turn: an answer that calls, its result."""
    rng = random.Random(seed)
    sources = [getsource(import_module(module)).splitlines() for module in _MODULES]
    system = f"Session {seed}. You are an agent that writes programs.\n" + "\n".join(
        _text(rng, 30) for _ in range(40)
    )
    first = f"Look through the library, and find out where it breaks.\n{_text(rng, 60)}"
    yield [{"role": "system", "content": system}, {"role": "user", "content": first}]
    while True:
        call_id = f"call_{rng.getrandbits(96):024x}"
        lines = rng.choice(sources)
        at, count = rng.randrange(len(lines)), rng.randrange(20, 110)
        arguments = {"path": f"lib/part_{rng.randrange(99)}.py", "option_0": at, "option_1": count}
        name = rng.choice(_NAMES[:5])
        call = {"name": name, "arguments": json.dumps(arguments)}
        said = f"Next I look at what is behind line {at}. {_text(rng, 25)}"
        numbered = (f"{at + n:6}\t{line}" for n, line in enumerate(lines[at : at + count]))
        yield [
            {
                "role": "assistant",
                "content": said,
                "tool_calls": [{"id": call_id, "type": "function", "function": call}],
            },
            {"role": "tool", "tool_call_id": call_id, "content": "\n".join(numbered)},
        ]
