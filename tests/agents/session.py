"""What the assistant says in an agent's session, turn by turn, and the tokens that say it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cierzo.chat.messages import Message, ToolCall
from cierzo.chat.templates.template import ChatTemplate
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.chat.tools import Tool


@dataclass(frozen=True)
class Turn:
    """What the assistant says, and the tool that it calls; without a tool the session ends."""

    text: str | None = None
    tool: str | None = None
    arguments: Mapping[str, Any] | None = None

    def message(self, call_id: str) -> Message:
        if self.tool is None:
            return Message("assistant", self.text)
        call = ToolCall(self.tool, json.dumps(self.arguments), call_id)
        return Message("assistant", self.text, tool_calls=(call,))


def messages(turns: Sequence[Turn], other: str) -> list[Message]:
    """The whole session; `other` is what user and tools say."""
    said = [Message("user", other)]
    for i, turn in enumerate(turns):
        said.append(turn.message(call_id=f"call{i:05}"))
        if turn.tool is not None:
            said.append(Message("tool", other, tool_call_id=f"call{i:05}"))
    if turns[-1].tool is None:
        said.append(Message("user", other))  # so that the end of the last turn is written
    return said


def opening_tokens(tokenizer: Tokenizer) -> tuple[int, ...]:
    """After any of these the assistant speaks."""
    return tokenizer.control_tokens["[/INST]"], tokenizer.control_tokens["[/TOOL_RESULTS]"]


def said_tokens(
    tokenizer: Tokenizer, template: ChatTemplate, turns: Sequence[Turn]
) -> list[list[int]]:
    """The tokens of each turn, with the one that ends it."""
    openers = opening_tokens(tokenizer)
    end = tokenizer.control_tokens["</s>"]
    tools = [Tool(name, "", {"type": "object"}) for name in {t.tool for t in turns if t.tool}]
    tokens = list(template.render(messages(turns, "-"), tools=tools))
    spans = []
    begin = 0
    for i, token in enumerate(tokens):
        if token in openers:
            begin = i + 1
        elif token == end:
            spans.append(tokens[begin : i + 1])
    return spans
