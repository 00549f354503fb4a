"""Requests and answers of `/chat/completions`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from cierzo.api.errors import bad_request
from cierzo.api.schemas import common
from cierzo.api.schemas.common import refuse_unless
from cierzo.chat import messages as chat
from cierzo.settings import Limits

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "error"]


class TextPart(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="text"
):
    """A piece of a message's text."""

    text: str
    cache_control: Any = None  # caching is automatic
    prompt_cache_breakpoint: Any = None


Content: TypeAlias = str | list[TextPart]


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="role"):
    """What every role may carry."""

    name: str | None = None
    cache_control: Any = None


class SystemMessage(_Message, frozen=True, tag="system", kw_only=True):
    """Instructions."""

    content: Content


class DeveloperMessage(_Message, frozen=True, tag="developer", kw_only=True):
    """Instructions, in OpenAI's newer word for them."""

    content: Content


class UserMessage(_Message, frozen=True, tag="user", kw_only=True):
    """What the user said."""

    content: Content


class FunctionCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which function to call; `arguments` is JSON text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call that the assistant made earlier."""

    function: FunctionCall
    id: str | None = None
    type: Literal["function"] | None = None
    index: int | None = None


class AssistantMessage(_Message, frozen=True, tag="assistant", kw_only=True):
    """What the assistant said; as the last message, the beginning of its answer.

    What other servers put into their answers may come back: reasoning, annotations and the like
    are no part of the prompt of a model that does not reason.
    """

    content: Content | None = None
    tool_calls: list[ToolCall] | None = None
    refusal: str | None = None
    function_call: Any = None
    audio: Any = None
    images: Any = None
    annotations: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    reasoning_details: Any = None
    model: Any = None


class ToolMessage(_Message, frozen=True, tag="tool", kw_only=True):
    """What a tool answered."""

    content: Content | None = None
    tool_call_id: str | None = None


ChatMessage: TypeAlias = (
    SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage
)


class ChatRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A conversation to continue, and how. null is the same as leaving a field out."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    model: str | None = None
    max_completion_tokens: common.Count | None = None
    max_tokens: common.Count | None = None  # the older name
    temperature: common.Temperature | None = None
    top_p: common.TopP | None = None
    top_k: common.TopK | None = None
    min_p: common.Probability | None = None
    top_a: common.Probability | None = None
    frequency_penalty: common.Penalty | None = None
    presence_penalty: common.Penalty | None = None
    repetition_penalty: common.RepetitionPenalty | None = None
    logit_bias: dict[common.TokenId, common.Bias] | None = None
    seed: common.Seed | None = None
    stop: str | list[str] | None = None
    n: common.Count | None = None
    stream: bool | None = None
    stream_options: common.StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: common.CountOrZero | None = None
    response_format: dict[str, Any] | None = None
    structured_outputs: bool | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    modalities: list[str] | None = None
    prediction: Any = None  # draft tokens: they never change the answer
    reasoning: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    include_reasoning: bool | None = None
    verbosity: str | None = None
    provider: Any = None
    models: list[str] | None = None
    route: str | None = None
    plugins: list[Any] | None = None
    transforms: list[Any] | None = None
    audio: Any = None
    image_config: Any = None
    web_search_options: Any = None
    stop_server_tools_when: Any = None
    prompt: Any = None
    store: bool | None = None
    debug: Any = None
    # The rest names or groups requests and changes nothing in the answer.
    usage: Any = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    session_id: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: Any = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    cache_control: Any = None
    trace: Any = None


def check_chat_request(request: ChatRequest, limits: Limits) -> None:
    """Raises ApiError for what the types cannot say: limits, and what is not supported yet."""
    common.check_length("messages", request.messages, limits.messages)
    common.check_length("tools", request.tools, limits.tools)
    common.check_length("logit_bias", request.logit_bias, limits.logit_bias_entries)
    if request.top_logprobs is not None:
        if request.top_logprobs > limits.top_logprobs:
            most = limits.top_logprobs
            raise bad_request(f"top_logprobs: must be from 0 to {most}", "top_logprobs")
        if not request.logprobs:
            raise bad_request("top_logprobs: needs logprobs to be true", "top_logprobs")
    refuse_unless("response_format", request.response_format, {"type": "text"})
    refuse_unless("tools", request.tools)
    refuse_unless("tool_choice", request.tool_choice, "none", "auto")
    refuse_unless("functions", request.functions)
    refuse_unless("function_call", request.function_call, "none", "auto")
    refuse_unless("modalities", request.modalities, ["text"])
    refuse_unless("top_a", request.top_a, 0)
    refuse_unless("reasoning", request.reasoning, {"effort": "none"}, {"enabled": False})
    refuse_unless("reasoning_effort", request.reasoning_effort, "none")
    refuse_unless("verbosity", request.verbosity, "medium")
    refuse_unless("models", request.models)
    refuse_unless("route", request.route, "fallback")
    for name in ("provider", "plugins", "transforms", "audio", "image_config", "prompt", "store"):
        refuse_unless(name, getattr(request, name))
    for name in ("web_search_options", "stop_server_tools_when", "debug"):
        refuse_unless(name, getattr(request, name))
    for index, message in enumerate(request.messages):
        if isinstance(message, AssistantMessage):
            for name in ("function_call", "audio", "images"):
                refuse_unless(f"messages[{index}].{name}", getattr(message, name))


def to_chat_message(message: ChatMessage) -> chat.Message:
    """The message as the rooms below know it."""
    content = message.content
    calls: tuple[chat.ToolCall, ...] = ()
    call_id = None
    if isinstance(message, AssistantMessage):
        calls = tuple(
            chat.ToolCall(call.function.name, call.function.arguments, call.id)
            for call in message.tool_calls or ()
        )
    elif isinstance(message, ToolMessage):
        call_id = message.tool_call_id
    return chat.Message(
        role=str(message.__struct_config__.tag),
        content=tuple(part.text for part in content) if isinstance(content, list) else content,
        name=message.name,
        tool_calls=calls,
        tool_call_id=call_id,
    )


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
    """Log-probabilities of the answer's tokens."""

    content: list[TokenLogprob]
    refusal: None = None


class AnswerMessage(msgspec.Struct, frozen=True):
    """The answer."""

    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class ChatChoice(msgspec.Struct, frozen=True):
    """One of `n` answers."""

    index: int
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int  # Unix time
    model: str
    system_fingerprint: str  # names build, weights and device
    choices: list[ChatChoice]
    usage: common.Usage


class MessageDelta(msgspec.Struct, frozen=True):
    """What is new."""

    content: str | UnsetType = UNSET
    role: Literal["assistant"] | UnsetType = UNSET


class ChunkChoice(msgspec.Struct, frozen=True):
    """What is new in one choice."""

    index: int
    delta: MessageDelta
    finish_reason: FinishReason | None = None
    logprobs: ChoiceLogprobs | None = None


class ChatChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int  # Unix time
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: common.Usage | UnsetType = UNSET
