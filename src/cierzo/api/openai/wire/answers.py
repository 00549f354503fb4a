"""Answers of `/chat/completions`, whole and as events of a stream."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from cierzo.api.openai.wire import common
from cierzo.api.openai.wire.common import FinishReason
from cierzo.api.openai.wire.diagnostics import PromptCacheDiagnostics


class TopLogprob(msgspec.Struct, frozen=True):
    """A token that could have stood there."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token of the answer and what else could have stood there."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(msgspec.Struct, frozen=True):
    """Log-probabilities of the answer's tokens, those of its calls included."""

    content: list[TokenLogprob]
    refusal: None = None


class CalledFunction(msgspec.Struct, frozen=True):
    """The function to call; `arguments` is JSON text."""

    name: str
    arguments: str


class AnswerToolCall(msgspec.Struct, frozen=True):
    """A call that the model makes."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class AnswerMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `content` is null where it is made of calls only."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    tool_calls: list[AnswerToolCall] | UnsetType = UNSET


class ChatChoice(msgspec.Struct, frozen=True):
    """One of `n` answers."""

    index: int
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason
    native_finish_reason: str  # OpenRouter's name for the model's own reason, here the same


class ChatCompletion(common.AnswerHead, frozen=True, kw_only=True):
    """The whole answer."""

    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]
    usage: common.Usage
    prompt_cache_diagnostics: PromptCacheDiagnostics | UnsetType = UNSET


class FunctionDelta(msgspec.Struct, frozen=True):
    """What is new of a call: its name, then its arguments piece by piece."""

    arguments: str
    name: str | UnsetType = UNSET


class ToolCallDelta(msgspec.Struct, frozen=True):
    """What is new of the call of that index. The first has its id, type and name."""

    index: int
    function: FunctionDelta
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET


class MessageDelta(msgspec.Struct, frozen=True):
    """What is new."""

    content: str | UnsetType = UNSET
    role: Literal["assistant"] | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, frozen=True):
    """What is new in one choice."""

    index: int
    delta: MessageDelta
    finish_reason: FinishReason | None = None
    native_finish_reason: str | None = None
    logprobs: ChoiceLogprobs | None = None


class ChatChunk(common.AnswerHead, frozen=True, kw_only=True):
    """One event of a stream."""

    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    choices: list[ChunkChoice]
    usage: common.Usage | UnsetType = UNSET
    prompt_cache_diagnostics: PromptCacheDiagnostics | UnsetType = UNSET
