"""Mistral's chat format, token by token, through mistral-common: no text is parsed for tokens."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.instruct import messages as mistral
from mistral_common.protocol.instruct.chunk import TextChunk
from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import FunctionCall
from mistral_common.protocol.instruct.tool_calls import Tool as MistralTool
from mistral_common.protocol.instruct.tool_calls import ToolCall as MistralToolCall
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.instruct import (
    InstructTokenizerV3,
    InstructTokenizerV7,
    InstructTokenizerV11,
    InstructTokenizerV13,
    InstructTokenizerV15,
)
from pydantic import ValidationError

from cierzo.chat.calls.mistral_calls import mistral_format
from cierzo.chat.calls.tool_format import ToolFormat
from cierzo.chat.messages import ChatError, Message, check_roles, pair_tool_results
from cierzo.chat.recent import RecentOf
from cierzo.chat.templates.canonical import canonical
from cierzo.chat.tokenizers.tekken import TekkenTokenizer
from cierzo.chat.tools import Tool
from cierzo.grammar.errors import one_line
from cierzo.model.errors import ModelError

_INSTRUCT = {
    TokenizerVersion.v3: InstructTokenizerV3,
    TokenizerVersion.v7: InstructTokenizerV7,
    TokenizerVersion.v11: InstructTokenizerV11,
    TokenizerVersion.v13: InstructTokenizerV13,
    TokenizerVersion.v15: InstructTokenizerV15,
}


@dataclass(frozen=True, slots=True)
class _Run:
    """Messages of one role in a row, and all else that their tokens depend on."""

    role: str
    messages: tuple[Message, ...]
    # What they follow: calls, by which results are put in order, or words of the system that v3
    # writes in front of them.
    before: tuple[Message, ...] = ()
    tools: str | None = None  # their JSON, or none at all, where the format writes tools
    continued: bool = False  # the last message is the beginning of the answer

    def texts(self) -> Iterator[str]:
        """All that it keeps in memory."""
        for message in (*self.before, *self.messages):
            yield from message.parts()
            for call in message.tool_calls:
                yield call.arguments
        yield self.tools or ""


class MistralTemplate:
    """Encodes conversations as the version of the vocabulary wants them.

    Where mistral-common takes a conversation, the tokens are its own, asked for piece by piece. It
    refuses some orders that clients send; those are written as the format can: a system message
    stays where it is, which keeps the beginning of a growing conversation, and so its cache, as it
    was.
    """

    supports_tools = True

    def __init__(self, tokenizer: TekkenTokenizer) -> None:
        tekkenizer = tokenizer.tekkenizer
        self._version = tekkenizer.version
        instruct = _INSTRUCT.get(self._version)
        if instruct is None:
            raise ModelError(
                f"Tekken vocabulary of version {self._version.value} is not supported "
                f"(known: {', '.join(v.value for v in _INSTRUCT)}); update mistral-common"
            )
        try:
            self._instruct = instruct(tekkenizer)
        except ValueError as error:
            raise ModelError(f"Tekken vocabulary lacks a control token: {error}") from error
        self._normalizer = get_normalizer(self._version, tekkenizer.model_settings_builder)
        number = int(self._version.value.removeprefix("v"))
        self._tools_come_first = number >= 13  # at what the user says first, or else last
        form = mistral_format(tokenizer, args=number >= 11, ids=number < 13)
        if form is None:
            raise ModelError("Tekken vocabulary lacks a control token of its tool calls")
        self.tool_format: ToolFormat = form

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] | None = None,
        continue_final: bool = False,
        recent: RecentOf | None = None,
    ) -> array[int]:
        turns = canonical(check_roles(messages))
        turns = pair_tool_results([m for m in turns if m.role != "assistant" or not m.is_empty()])
        if self._version == TokenizerVersion.v3:
            turns = _calls_alone(turns)
        described = [_described(tool) for tool in tools or ()]
        if described and all(m.role != "user" for m in turns):
            # The format writes tools at a user message, so there has to be one.
            start = next((i for i, m in enumerate(turns) if m.role != "system"), len(turns))
            turns.insert(start, Message("user", ""))
        try:
            written = json.dumps(described, ensure_ascii=False) if described else ""
            runs = self._runs(turns, written, continue_final)
            pieces = [self._tokens(run, described, recent) for run in runs]
        except RecursionError as error:
            raise ChatError("messages or tools are nested too deeply") from error
        except (MistralCommonException, ValueError) as error:
            raise ChatError(f"Mistral's format cannot hold this: {_line(error)}") from error
        ids = array("i", self._instruct.start())
        for piece in pieces:
            ids += piece
        return ids

    def _runs(self, turns: Sequence[Message], tools: str, continue_final: bool) -> list[_Run]:
        """The conversation in pieces, each with all that its tokens depend on."""
        runs: list[_Run] = []
        called: tuple[Message, ...] = ()  # whose calls the next results may answer
        for role, group in groupby(turns, key=lambda message: message.role):
            run = _Run(role, tuple(group), called if role == "tool" else ())
            called = called + run.messages if role == "assistant" else called
            called = () if role == "tool" else called
            runs.append(run)
        system: tuple[Message, ...] = ()
        if self._version == TokenizerVersion.v3:
            # What the system says stands in front of what the user says last.
            system = tuple(message for message in turns if message.role == "system")
            runs = [run for run in runs if run.role != "system"]
            if not runs or runs[0].role != "user":
                runs.insert(0, _Run("user", (Message("user", ""),)))
        users = [place for place, run in enumerate(runs) if run.role == "user"]
        if users:
            place = users[0] if self._tools_come_first else users[-1]
            runs[place] = replace(runs[place], before=system, tools=tools)
        if continue_final:
            runs[-1] = replace(runs[-1], continued=True)
        return runs

    def _tokens(
        self, run: _Run, tools: Sequence[dict[str, Any]], recent: RecentOf | None
    ) -> array[int]:
        found = recent.get(run) if recent is not None else None
        if found is None:
            found = array("i", self._encoded(run, tools if run.tools else ()))
            if recent is not None:
                recent.put((run,), found, run.texts())
        return found

    def _encoded(self, run: _Run, tools: Sequence[dict[str, Any]]) -> list[int]:
        """The tokens of a run, as mistral-common writes them within a conversation."""
        last = run.messages[-1] if run.continued else None
        request = ChatCompletionRequest[Any](
            messages=[self._convert(m, m is last) for m in (*run.before, *run.messages)],
            tools=[MistralTool.model_validate(tool) for tool in tools] or None,
        )
        whole = self._normalizer.from_chat_completion_request(request)
        ids: list[int] = []
        for message in whole.messages:
            if message.role != run.role:  # what was before it, or stands in for that
                continue
            if isinstance(message, mistral.UserMessage):
                ids += self._instruct.encode_user_message(
                    message,
                    whole.available_tools,
                    is_last=run.tools is not None,
                    is_first=run.tools is not None,
                    system_prompt=whole.system_prompt,
                    force_img_first=True,
                    settings=whole.settings,
                )[0]
            elif isinstance(message, mistral.ToolMessage):
                ids += self._instruct.encode_tool_message(message, False)[0]
            elif isinstance(message, mistral.AssistantMessage):
                ids += self._instruct.encode_assistant_message(message, False)
            else:
                ids += self._instruct.encode_system_message(message)[0]
        return ids

    def _convert(self, message: Message, continue_final: bool) -> Any:
        content = _content(message)
        if message.role == "system":
            return mistral.SystemMessage(content=content)
        if message.role == "user":
            return mistral.UserMessage(content=content)
        if message.role == "tool":
            return mistral.ToolMessage(content=content, tool_call_id=message.tool_call_id)
        calls = [
            MistralToolCall(
                id=call.id or "", function=FunctionCall(name=call.name, arguments=call.arguments)
            )
            for call in message.tool_calls
        ]
        return mistral.AssistantMessage(
            content=content or None, tool_calls=calls or None, prefix=continue_final
        )


def _calls_alone(turns: Sequence[Message]) -> list[Message]:
    """Assistant turns without words beside calls: v3 cannot hold them, and Mistral's Jinja template
    of that version drops them too. Messages in a row are one turn."""
    alone: list[Message] = []
    for role, group in groupby(turns, key=lambda message: message.role):
        messages = list(group)
        if role == "assistant" and any(m.tool_calls for m in messages):
            messages = [replace(m, content=None) for m in messages if m.tool_calls]
        alone += messages
    return alone


def _content(message: Message) -> Any:
    parts = message.parts()
    if len(parts) > 1:
        return [TextChunk(text=part) for part in parts]
    return parts[0] if parts else ""


def _described(tool: Tool) -> dict[str, Any]:
    described = tool.to_openai()
    described["function"].setdefault("description", "")
    return described


def _line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}"
    return one_line(error)
