"""Answers put together from their steps, and sent back as clients send them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cierzo.chat.answers.reader import AnswerReader, Step
from cierzo.chat.calls.tool_format import CallDelta, ToolFormat
from cierzo.chat.messages import Message, ToolCall
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.chat.tools import Tool

# What a client may have made of an answer before it sends it back.
ARGUMENTS: dict[str, Callable[[str], str]] = {
    "as it came": lambda text: text,
    "compact": lambda text: json.dumps(json.loads(text), separators=(",", ":")),
    "indented": lambda text: json.dumps(json.loads(text), indent=4),
    "in letters of ASCII": lambda text: json.dumps(json.loads(text)),
    "with space around": lambda text: f" {text}\n",
}
CONTENTS: dict[str, Callable[[str], Any]] = {
    "as it came": lambda text: text,
    "trimmed": lambda text: text.strip(),
    "with space around": lambda text: f"\n {text}  \n",
    "none if empty": lambda text: text or None,
    "a part": lambda text: (text,),
    "no part if empty": lambda text: (text,) if text else (),
}
TOOLS = (
    Tool(
        "read_file",
        "Reads é.",
        {
            "type": "object",
            "properties": {
                "path": {"type": "string"},
                "lines": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            },
            "required": ["path"],
            "additionalProperties": False,
        },
    ),
    Tool(
        "read",
        None,
        {
            "type": "object",
            "properties": {
                "mode": {"enum": ["é", '"q"\\', 1.5, None]},
                "all": {"type": "boolean"},
                "map": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "maxProperties": 1,
                },
            },
            "required": ["mode"],
            "additionalProperties": False,
        },
    ),
    Tool("stop-it"),
)


def answer_to(
    tokenizer: Tokenizer,
    form: ToolFormat | None,
    ids: Sequence[int],
    sizes: Iterable[int] = (),
    **how: Any,
) -> list[Step]:
    """The steps of an answer whose tokens come in groups of `sizes`, then one by one."""
    answer = AnswerReader(tokenizer, form, **how)
    steps, start = [], 0
    for size in (*sizes, *[1] * len(ids)):
        if start >= len(ids):
            break
        steps.append(answer.push(ids[start : start + size]))
        start += size
    return [*steps, answer.finish()]


def text_of(steps: Iterable[Step]) -> str:
    """The content."""
    return "".join(step.text for step in steps)


def calls_of(steps: Iterable[Step]) -> list[ToolCall]:
    """The calls, as a client joins their deltas; checks the form of these."""
    calls: list[ToolCall] = []
    for delta in (delta for step in steps for delta in step.calls):
        _check(delta, len(calls))
        if delta.name is not None:
            calls.append(ToolCall(delta.name, delta.arguments, delta.id))
        else:
            last = calls[-1]
            calls[-1] = ToolCall(last.name, last.arguments + delta.arguments, last.id)
    return calls


def _check(delta: CallDelta, count: int) -> None:
    if delta.name is not None:
        assert delta.index == count
        assert delta.id is not None
        assert len(delta.id) == 9
    else:
        assert (delta.index, delta.id) == (count - 1, None)
        assert delta.arguments


def turn_of(
    steps: Sequence[Step], content: str = "as it came", arguments: str = "as it came"
) -> Message:
    """The answer as a message of the next request, in one of the forms above."""
    calls = tuple(
        ToolCall(call.name, ARGUMENTS[arguments](call.arguments), call.id)
        for call in calls_of(steps)
    )
    return Message("assistant", CONTENTS[content](text_of(steps)), tool_calls=calls)
