"""Requests of `/chat/completions`."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta

from cierzo.api.errors import bad_request
from cierzo.api.openai.wire import common
from cierzo.api.openai.wire.common import refuse_unless
from cierzo.api.openai.wire.formats import ResponseFormat
from cierzo.api.openai.wire.messages import ChatMessage
from cierzo.api.openai.wire.routing import RoutedRequest
from cierzo.api.openai.wire.tools import ToolChoiceField, ToolsField, check_legacy
from cierzo.api.openai.wire.unread import Unread
from cierzo.settings import Limits


class ChatRequest(RoutedRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A conversation to continue, and how. null is the same as leaving a field out."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_completion_tokens: common.CountOrAll | None = None
    max_tokens: common.CountOrAll | None = None  # the older name
    logprobs: bool | int | None = None  # a number is that of alternatives, as in completions
    top_logprobs: common.CountOrZero | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: bool | dict[str, Any] | None = None  # schemas are enforced anyway
    tools: ToolsField | None = None
    tool_choice: ToolChoiceField | None = None
    parallel_tool_calls: bool | None = None
    functions: Unread = UNSET
    function_call: Unread = UNSET
    modalities: str | list[str] | None = None
    web_search_options: Unread = UNSET
    prompt: Unread = UNSET
    add_generation_prompt: bool | None = None  # vLLM's words for whether a last message of the
    continue_final_message: bool | None = None  # assistant's is to be continued: it is by default
    # What models that reason, speak or draw would heed, and what is about the answer elsewhere.
    # In any form, it changes nothing in the answer.
    reasoning: common.Ignored = UNSET
    reasoning_effort: common.Ignored = UNSET
    include_reasoning: common.Ignored = UNSET
    verbosity: common.Ignored = UNSET
    prediction: common.Ignored = UNSET  # it may save time
    audio: common.Ignored = UNSET  # how to speak, where `modalities` ask for it
    image_config: common.Ignored = UNSET  # how to draw
    stop_server_tools_when: common.Ignored = UNSET  # the server has no tools of its own
    store: common.Ignored = UNSET  # nothing is kept
    debug: common.Ignored = UNSET  # there is nothing upstream

    def longest_answer(self) -> int | None:
        """In tokens, if it says; the newer name wins. 0 reads the prompt, for those to come."""
        newer = self.max_completion_tokens
        longest = self.max_tokens if newer is None else newer
        return None if longest == -1 else longest

    def alternatives(self) -> int | None:
        """How many log-probabilities to tell for each token, besides its own; None for none."""
        if self.top_logprobs is not None and self.logprobs is None:
            return self.top_logprobs or None
        if not self.logprobs:
            return None
        return self.top_logprobs or (0 if self.logprobs is True else self.logprobs)


def check_chat_request(request: ChatRequest, limits: Limits) -> None:
    """Raises ApiError for what the types cannot say: limits, and what is not supported."""
    common.check_length("messages", request.messages, limits.messages)
    common.check_length("tools", request.tools, limits.tools)
    common.check_sampling(request, limits)
    _check_logprobs(request, limits)
    text_only = "this model reads and writes text only; leave it out"
    refuse_unless("modalities", request.modalities, text_only, "text", ["text"], [])
    refuse_unless(
        "web_search_options",
        request.web_search_options,
        "there is no web search here; leave it out",
    )
    refuse_unless("prompt", request.prompt, "prompts are not stored here; send messages", "", {})
    check_legacy(request.functions, request.function_call)


def _check_logprobs(request: ChatRequest, limits: Limits) -> None:
    most = limits.top_logprobs
    for name in ("top_logprobs", "logprobs"):
        value = getattr(request, name)
        if value is not None and not 0 <= value <= most:
            raise bad_request(f"{name}: must be from 0 to {most}", name)
    if request.top_logprobs and request.logprobs is False:
        raise bad_request("top_logprobs: needs logprobs to be true", "top_logprobs")
