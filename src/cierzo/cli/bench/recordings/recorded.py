"""A recorded message list as turns: every answer of the recording is asked for again.

The recorded answer, not the new one, stands in the histories after it, so that every server gets
the same prompts.

`plain` writes calls and their results as text of assistant and user turns. A recording seldom has
the tools that were offered, templates write calls each in its own way, and some servers refuse
calls without tools; text is rendered alike by all. As recorded, messages keep their calls, with ids
of nine letters and digits, which Mistral's models want and others do not mind, and lose fields that
are no part of OpenAI's messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cierzo.cli.bench.recordings.turn import Turn


def recorded_turns(messages: Sequence[Mapping[str, Any]], *, plain: bool) -> Iterator[Turn]:
    """A turn for each recorded answer that follows something. ValueError if one is no message."""
    ids: dict[str, str] = {}
    history: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        role = message["role"]
        if role not in ("system", "developer", "user", "assistant", "tool"):
            raise ValueError(f"message {number} has the role {role!r}")
        if role == "assistant" and history and history[-1]["role"] != "assistant":
            yield Turn(tuple(_plain(history) if plain else history))
        history.append(_message(message, ids))


def _message(message: Mapping[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    """A message that any server reads, calls and results still its own."""
    kept: dict[str, Any] = {
        "role": "system" if message["role"] == "developer" else message["role"],
        "content": _text(message.get("content")),
    }
    if message.get("tool_calls"):
        kept["tool_calls"] = [_call(call, ids) for call in message["tool_calls"]]
    if message["role"] == "tool":
        kept["tool_call_id"] = _short(message["tool_call_id"], ids)
    return kept


def _text(content: object) -> str:
    """Content as one text; its parts a line each."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or any(part.get("type") != "text" for part in content):
        raise ValueError("only text can be replayed")
    return "\n".join(part["text"] for part in content)


def _call(call: Mapping[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    arguments = call["function"]["arguments"]
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    function = {"name": call["function"]["name"], "arguments": arguments}
    return {"id": _short(call["id"], ids), "type": "function", "function": function}


def _short(call_id: str, ids: dict[str, str]) -> str:
    return ids.setdefault(call_id, f"call{len(ids):05d}")


def _plain(history: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """System first, then user and assistant in turn, which every template takes."""
    role, texts = "", list[str]()
    for message in history:
        now = "user" if message["role"] == "tool" else message["role"]
        if now == "system" and role not in ("", "system"):
            now = "user"  # templates take a system message at the beginning alone
        if now != role and texts:
            yield {"role": role, "content": "\n\n".join(texts)}
            texts = []
        role = now
        texts += _spelled(message)
    yield {"role": role, "content": "\n\n".join(texts)}


def _spelled(message: Mapping[str, Any]) -> Iterator[str]:
    """A message's text, its calls and results written out."""
    if message["role"] == "tool":
        yield f"Result:\n{message['content']}"
        return
    if message["content"]:
        yield message["content"]
    for call in message.get("tool_calls", ()):
        yield f"Call {call['function']['name']}:\n{call['function']['arguments']}"
