"""Requests of `/chat/completions`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cierzo.api.errors import bad_request
from cierzo.api.schemas import common
from cierzo.api.schemas.common import refuse_unless
from cierzo.api.schemas.formats import ResponseFormat
from cierzo.api.schemas.messages import ChatMessage, check_message
from cierzo.api.schemas.routing import RoutedRequest
from cierzo.api.schemas.tool_choice import ToolChoiceField
from cierzo.api.schemas.tools import ToolsField, check_legacy
from cierzo.settings import Limits

Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
_NO_REASONING = "this model does not reason; leave it out"


class Reasoning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much to reason before the answer, and what to show of it."""

    effort: Effort | None = None
    max_tokens: common.CountOrZero | None = None
    enabled: bool | None = None
    exclude: bool | None = None  # nothing is shown anyway
    summary: Literal["auto", "concise", "detailed"] | None = None

    def asks(self) -> bool:
        """Whether it asks for reasoning."""
        if self.enabled is False or self.effort == "none":
            return False
        return bool(self.enabled or self.effort or self.max_tokens or self.summary)


class PredictedText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of a prediction."""

    text: str
    type: Literal["text"] = "text"


class Prediction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the answer will probably be: it may save time, and never changes the answer."""

    type: Literal["content"]
    content: str | list[PredictedText]


class DebugOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to tell of the request on its way to a provider."""

    echo_upstream_body: bool | None = None


class ChatRequest(RoutedRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A conversation to continue, and how. null is the same as leaving a field out."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_completion_tokens: common.Count | None = None
    max_tokens: common.Count | None = None  # the older name
    logprobs: bool | None = None
    top_logprobs: common.CountOrZero | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: bool | None = None  # schemas are enforced whatever it says
    tools: ToolsField | None = None
    tool_choice: ToolChoiceField = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    prediction: Prediction | None = None
    modalities: list[str] | None = None
    reasoning: Reasoning | None = None
    reasoning_effort: Effort | None = None
    include_reasoning: bool | None = None  # all that there is, none, is included
    verbosity: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    stop_server_tools_when: list[Any] | None = None  # the server has no tools of its own
    audio: Any = None
    image_config: Any = None
    web_search_options: Any = None
    prompt: Any = None
    store: bool | None = None
    debug: DebugOptions | None = None

    def longest_answer(self) -> int | None:
        """In tokens, if it says; the newer name wins."""
        return self.max_completion_tokens or self.max_tokens


def check_chat_request(request: ChatRequest, limits: Limits) -> None:
    """Raises ApiError for what the types cannot say: limits, and what is not supported."""
    common.check_length("messages", request.messages, limits.messages)
    common.check_length("tools", request.tools, limits.tools)
    common.check_length("logit_bias", request.logit_bias, limits.logit_bias_entries)
    if request.top_logprobs is not None:
        if request.top_logprobs > limits.top_logprobs:
            most = limits.top_logprobs
            raise bad_request(f"top_logprobs: must be from 0 to {most}", "top_logprobs")
        if not request.logprobs:
            raise bad_request("top_logprobs: needs logprobs to be true", "top_logprobs")
    _check_unsupported(request)
    for index, message in enumerate(request.messages):
        check_message(message, f"messages[{index}]")


def _check_unsupported(request: ChatRequest) -> None:
    text_only = "this model reads and writes text only; leave it out"
    refuse_unless("modalities", request.modalities, text_only, ["text"], [])
    refuse_unless("audio", request.audio, text_only)
    refuse_unless("image_config", request.image_config, text_only, {})
    if request.reasoning is not None and request.reasoning.asks():
        refuse_unless("reasoning", True, _NO_REASONING)
    refuse_unless("reasoning_effort", request.reasoning_effort, _NO_REASONING, "none")
    refuse_unless("verbosity", request.verbosity, "only medium is known here", "medium")
    refuse_unless(
        "web_search_options",
        request.web_search_options,
        "there is no web search here; leave it out",
    )
    refuse_unless("prompt", request.prompt, "prompts are not stored here; send messages")
    refuse_unless("store", request.store, "answers are not stored here; leave it out")
    if request.debug is not None:
        echo = request.debug.echo_upstream_body
        refuse_unless("debug.echo_upstream_body", echo, "there is nothing upstream")
    check_legacy(request.functions, request.function_call)
