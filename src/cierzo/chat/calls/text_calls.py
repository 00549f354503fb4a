"""Calls in text, as Hermes and Qwen write them: a JSON object with name and arguments, in tags.

Many models were trained on this form. It is also what models with no form of their own are taught,
in their system prompt.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from cierzo.chat.calls.json_calls import JsonCalls, tagged_head
from cierzo.chat.calls.spelling import ARGUMENTS, literal, spelled
from cierzo.chat.calls.tool_format import CallIds, CallParser
from cierzo.chat.messages import Message, ToolCall
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.chat.tools import ChoiceMode, Tool

OPEN, CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class TextCalls:
    """The format, where a template writes the tags as tokens of their own, or as text."""

    tags: dict[int, str] = field(default_factory=dict)  # token ids of OPEN and CLOSE, if they have
    before: str = "\n"  # between content and the first call
    between: str = "\n"  # between two calls
    # To hold fixed text to its canonical tokens.
    tokenizer: Tokenizer | None = field(default=None, compare=False)

    trims = False
    writes_ids = False

    @property
    def trigger(self) -> int | None:
        return next((i for i, text in self.tags.items() if text == OPEN), None)

    @property
    def mark(self) -> str:
        return OPEN if self.trigger is None else ""

    @property
    def tokens(self) -> frozenset[int]:
        return frozenset(self.tags)

    def forbidden(self, mode: ChoiceMode) -> tuple[int, ...]:
        return () if mode != "none" or self.trigger is None else (self.trigger,)

    def opening(self, after_text: bool) -> str:
        space = f"{literal(self.before)} " if after_text and self.before else ""
        return space + self._tag(OPEN)

    def calls(
        self, arguments: Sequence[tuple[str, str]], parallel: bool, call_ids: CallIds | None
    ) -> str:
        space = f"{literal(self.between)} " if self.between else ""
        again = f" ({space}{self._tag(OPEN)} call)*" if parallel else ""
        opened = (
            ("",) if self.tags else (OPEN, f".{self.before}{OPEN}", f"{CLOSE}{self.between}{OPEN}")
        )
        end = literal("}\n") + " " + self._tag(CLOSE)
        objects = []
        for name, rule in arguments:
            head = f'\n{{"name": {literal(name)}, "arguments": '
            objects.append(f"{spelled(self.tokenizer, head, opened, ARGUMENTS)} {rule} {end}")
        return f"calls: call{again}\ncall: " + "\n    | ".join(objects)

    def parser(self, call_ids: CallIds) -> CallParser:
        return JsonCalls(call_ids, tagged_head(OPEN, CLOSE), self.tags)

    def _tag(self, text: str) -> str:
        token = next((i for i, tag in self.tags.items() if tag == text), None)
        return literal(text) if token is None else f"<[{token}]>"


def text_format(tokenizer: Tokenizer, before: str, between: str) -> TextCalls:
    """The format of a template that writes the tags itself: as tokens, if there are such."""
    ids = {**tokenizer.added_tokens, **tokenizer.control_tokens}
    both = {OPEN, CLOSE} <= ids.keys()
    tags = {ids[tag]: tag for tag in (OPEN, CLOSE) if both}
    return TextCalls(tags, before, between, tokenizer)


def with_tools_in_text(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """The conversation for a template that knows no tools: they stand in a system message in front,
    calls in what the assistant says, results in user messages."""
    turns = _in_text(messages)
    if not tools:
        return turns
    if turns and turns[0].role == "system":
        first, turns = "\n".join(turns[0].parts()), turns[1:]
        return [Message("system", f"{first}\n\n{_explained(tools)}"), *turns]
    return [Message("system", _explained(tools)), *turns]


def _in_text(messages: Sequence[Message]) -> list[Message]:
    turns: list[Message] = []
    previous = ""
    for message in messages:
        text = "\n".join(message.parts())
        if message.role == "tool":
            result = f"<tool_response>\n{text}\n</tool_response>"
            if previous == "tool":
                turns[-1] = Message("user", f"{turns[-1].content}\n{result}")
            else:
                turns.append(Message("user", result))
        elif message.tool_calls:
            calls = [_written(call) for call in message.tool_calls]
            turns.append(Message("assistant", "\n".join([*([text] if text else []), *calls])))
        else:
            turns.append(message)
        previous = message.role
    return turns


def _written(call: ToolCall) -> str:
    name = json.dumps(call.name, ensure_ascii=False)
    return f'{OPEN}\n{{"name": {name}, "arguments": {call.arguments}}}\n{CLOSE}'


def _explained(tools: Sequence[Tool]) -> str:
    listed = "\n".join(json.dumps(t.to_openai()["function"], ensure_ascii=False) for t in tools)
    return (
        "You may call functions to get what you need. These are there, with the JSON schemas of "
        f"their arguments:\n<tools>\n{listed}\n</tools>\n"
        "To call one, write its name and arguments as JSON between tags:\n"
        f'{OPEN}\n{{"name": "the_name", "arguments": {{"an_argument": "a value"}}}}\n{CLOSE}\n'
        "The user then sends you the result between <tool_response> tags."
    )
