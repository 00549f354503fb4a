"""Mistral's chat format, token by token, through mistral-common: no text is parsed for tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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


class MistralTemplate:
    """Encodes conversations as the version of the vocabulary wants them.

    Where mistral-common takes a conversation, the tokens are its own. It refuses some orders that
    clients send; those are written as the format can: a system message stays where it is, which
    keeps the beginning of a growing conversation, and so its cache, as it was.
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
        # It spells each prompt out again, which takes a third of its time and is read by nobody.
        self._instruct.decode = lambda *_, **__: ""  # type: ignore[method-assign]
        self._normalizer = get_normalizer(self._version, tekkenizer.model_settings_builder)
        number = int(self._version.value.removeprefix("v"))
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
    ) -> list[int]:
        turns = canonical(check_roles(messages))
        turns = pair_tool_results([m for m in turns if m.role != "assistant" or not m.is_empty()])
        if self._version == TokenizerVersion.v3:
            turns = _calls_alone(turns)
        available = [MistralTool.model_validate(_described(tool)) for tool in tools or ()]
        if available and all(m.role != "user" for m in turns):
            # The format writes tools at a user message, so there has to be one.
            start = next((i for i, m in enumerate(turns) if m.role != "system"), len(turns))
            turns.insert(start, Message("user", ""))
        try:
            request = ChatCompletionRequest[Any](
                messages=[self._convert(m, continue_final and m is turns[-1]) for m in turns],
                tools=available or None,
            )
            instruct = self._normalizer.from_chat_completion_request(request)
            return list(self._instruct.encode_instruct(instruct).tokens)
        except RecursionError as error:
            raise ChatError("messages or tools are nested too deeply") from error
        except (MistralCommonException, ValueError) as error:
            raise ChatError(f"Mistral's format cannot hold this: {_line(error)}") from error

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
