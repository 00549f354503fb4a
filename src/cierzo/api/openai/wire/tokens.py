"""Requests and answers of `/tokenize`, `/detokenize` and `/tokenizer_info`: vLLM's, and
llama-server's where those can mean one thing only."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from cierzo.api.errors import bad_request, unsupported
from cierzo.api.openai.wire import common
from cierzo.api.openai.wire.messages import ChatMessage
from cierzo.api.openai.wire.tools import ToolsField


class TokenizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A text, as `prompt` or `content`, or the messages of a conversation."""

    model: str | None = None
    prompt: str | None = None
    content: str | None = None  # llama-server's word; its defaults go with it
    messages: Annotated[list[ChatMessage], Meta(min_length=1)] | None = None
    tools: ToolsField | None = None
    add_special_tokens: bool | None = None  # true: a text begins as the model's prompts do
    add_special: bool | None = None  # llama-server's word; false is the default
    parse_special: bool | None = None  # false: spellings of control tokens are text
    return_token_strs: bool | None = None
    with_pieces: bool | None = None  # llama-server's: tokens are objects with their text
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    def text(self) -> str | None:
        """The text, where it is one."""
        return self.content if self.prompt is None else self.prompt

    def begins(self) -> bool:
        """Whether a text gets what the model's prompts begin with."""
        if self.prompt is None:
            return self.add_special is True
        return self.add_special_tokens is not False


class TokenPiece(msgspec.Struct, frozen=True):
    """A token with its text, or its bytes where they are no text."""

    id: int
    piece: str | list[int]


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of a text, or of the prompt that a conversation becomes."""

    count: int
    max_model_len: int
    tokens: list[int | TokenPiece]
    token_strs: list[str] | None = None


class DetokenizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Tokens to be put into text."""

    model: str | None = None
    tokens: list[common.TokenId]


class TokensText(msgspec.Struct, frozen=True):
    """The text, control tokens spelled out, under vLLM's name and llama-server's."""

    prompt: str
    content: str


class TokenizerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What evaluations need to know of a tokenizer, in the words of tokenizer_config.json."""

    tokenizer_class: str
    vocab_size: int
    model_max_length: int
    add_bos_token: bool
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    bos_token_id: int | None
    eos_token_id: int | None
    chat_template: str | UnsetType = UNSET  # in Jinja, where the checkpoint has one


def check_tokenize_request(request: TokenizeRequest) -> None:
    """Raises ApiError unless it names one thing to tokenize, in a way that is known here."""
    ways = ("prompt", "content", "messages")
    given = [name for name in ways if getattr(request, name) is not None]
    if len(given) != 1:
        which = "is needed" if not given else "can be sent"
        raise bad_request(f"prompt: one of prompt, content and messages {which}", "prompt")
    if request.chat_template is not None:
        raise unsupported("chat_template", "no template comes from a request; leave it out")
    if request.chat_template_kwargs:
        raise unsupported("chat_template_kwargs", "the template takes none; leave them out")
