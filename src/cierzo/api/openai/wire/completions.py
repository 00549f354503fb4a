"""Requests and answers of `/completions`, the older interface: text in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from cierzo.api.errors import bad_request, unsupported
from cierzo.api.openai.wire import common
from cierzo.api.openai.wire.common import refuse_unless
from cierzo.api.openai.wire.diagnostics import PromptCacheDiagnostics
from cierzo.api.openai.wire.routing import RoutedRequest
from cierzo.api.openai.wire.unread import Unread
from cierzo.settings import Limits

DEFAULT_MAX_TOKENS = 16  # OpenAI's
MAX_LOGPROBS = 5  # OpenAI's bound for this interface


class CompletionRequest(RoutedRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A text to go on with, and how. null is the same as leaving a field out."""

    # A text, texts, the token ids of a text, or those of several texts.
    prompt: str | Annotated[list[str | common.TokenId | list[common.TokenId]], Meta(min_length=1)]
    max_tokens: common.CountOrAll | None = None
    best_of: common.Count | None = None
    echo: bool | None = None
    logprobs: bool | int | None = None  # of so many alternatives for each token
    suffix: str | None = None
    add_special_tokens: bool | None = None  # vLLM's: whether a text begins with the model's BOS

    def longest_answer(self) -> int | None:
        """In tokens; None for what the context leaves."""
        if self.max_tokens is None:
            return DEFAULT_MAX_TOKENS
        return None if self.max_tokens == -1 else self.max_tokens

    def alternatives(self) -> int | None:
        """How many log-probabilities to tell for each token, besides its own; None for none."""
        if self.logprobs is None or self.logprobs is False:
            return None
        return 0 if self.logprobs is True else self.logprobs


def check_completion_request(request: CompletionRequest, limits: Limits) -> None:
    """Raises ApiError for what the types cannot say: limits, and what is not supported yet."""
    common.check_sampling(request, limits)
    if not 0 <= (request.logprobs or 0) <= MAX_LOGPROBS:
        raise bad_request(f"logprobs: must be from 0 to {MAX_LOGPROBS}", "logprobs")
    if request.best_of is not None and request.best_of != (request.n or 1):
        raise unsupported("best_of", "choosing among more than n is not done here; leave it out")
    refuse_unless("suffix", request.suffix, "texts cannot be filled in here; leave it out", "")


def check_prompt_lists(sent: Mapping[str, Raw], limits: Limits) -> None:
    """Raises ApiError for more texts or lists than there may be prompts, before they are made."""
    json = bytes(sent.get("prompt", b""))
    if not json.startswith(b"[") or (b'"' not in json and json.find(b"[", 1) < 0):
        return  # one text, or the tokens of one
    try:
        _places(limits.prompts).decode(json)
    except msgspec.ValidationError:
        message = f"prompt: more than the {limits.prompts} entries that are allowed"
        raise bad_request(message, "prompt") from None


@cache
def _places(count: int) -> msgspec.json.Decoder[msgspec.Struct]:
    """Reads an array of up to so many entries, and none of what is in them."""
    fields = [(f"at_{place}", Unread, UNSET) for place in range(count)]
    kind = msgspec.defstruct("Places", fields, array_like=True, forbid_unknown_fields=True)
    return msgspec.json.Decoder(kind)


class CompletionLogprobs(msgspec.Struct, frozen=True):
    """Log-probabilities, one entry a token. A prompt's first token has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]  # where in `text` the token begins, in characters


class CompletionChoice(msgspec.Struct, frozen=True):
    """One of the answers: for each prompt in order, `n` of them."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: common.FinishReason | None = None
    native_finish_reason: str | None = None


class Completion(common.AnswerHead, frozen=True, kw_only=True):
    """The whole answer; in a stream, one event of it."""

    object: Literal["text_completion"] = "text_completion"
    choices: list[CompletionChoice]
    usage: common.Usage | UnsetType = UNSET
    prompt_cache_diagnostics: PromptCacheDiagnostics | UnsetType = UNSET
