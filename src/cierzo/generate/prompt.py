"""A prompt's tokens, whatever it was given as."""

from __future__ import annotations

from collections.abc import Sequence

from cierzo.chat.messages import ChatError
from cierzo.generate.ask import Conversation, TokenIds
from cierzo.generate.model import Model
from cierzo.generate.refused import Reason, Refused, TooLong

PROMPT = ("prompt",)
MESSAGES = ("messages",)


def prompt_tokens(
    prompt: Conversation | str | TokenIds, model: Model, *, add_bos: bool = True
) -> Sequence[int]:
    """The tokens, one at least. Raises Refused for what cannot be put to the model.

    Slow for a large prompt: run it in a thread.
    """
    if isinstance(prompt, Conversation):
        return conversation_tokens(prompt, model)
    if isinstance(prompt, str):
        check_text_size(len(prompt), model)
        tokenizer = model.language.tokenizer
        tokens: Sequence[int] = tokenizer.encode(prompt, add_bos=add_bos and tokenizer.adds_bos)
    else:
        tokens = prompt
        if tokens and not 0 <= min(tokens) <= max(tokens) < model.vocab_size:
            text = f"token ids must be from 0 to {model.vocab_size - 1}"
            raise Refused(Reason.INVALID, text, PROMPT)
    if not tokens:
        raise Refused(Reason.INVALID, "must have at least one token", PROMPT)
    return tokens


def conversation_tokens(conversation: Conversation, model: Model) -> list[int]:
    """The prompt up to where the assistant speaks, tools included."""
    messages = conversation.messages
    size = sum(len(part) for message in messages for part in message.parts())
    size += sum(len(c.name) + len(c.arguments) for m in messages for c in m.tool_calls)
    check_text_size(size, model)
    try:
        return model.language.template.render(
            messages, tools=conversation.tools or None, continue_last=conversation.continue_last
        )
    except ChatError as error:
        raise Refused(Reason.INVALID, str(error), error.part or MESSAGES) from error


def check_text_size(size: int, model: Model) -> None:
    """Refuses a text so long that no tokenization fits, before time is spent on tokenizing it.

    `size` is in characters, which are no more than bytes. The doubt that some tokenizers
    normalise a text first, and so shorten it, gets a factor of two.
    """
    least = size // (2 * model.language.max_token_bytes)
    if least > model.max_model_len:
        raise TooLong(model.max_model_len, least)
