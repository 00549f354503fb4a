"""A prompt's tokens, whatever it was given as."""

from __future__ import annotations

from collections.abc import Sequence

from cierzo.chat.messages import ChatError, Part
from cierzo.chat.recent import RecentOf
from cierzo.chat.tools import check_tools
from cierzo.generate.ask import Conversation, Prompt
from cierzo.generate.model import Model
from cierzo.generate.refused import Reason, Refused, TooLong


def part_of(prompt: Prompt) -> Part:
    """The part of an ask that its prompt is."""
    return ("messages",) if isinstance(prompt, Conversation) else ("prompt",)


def prompt_tokens(prompt: Prompt, model: Model, *, add_bos: bool = True) -> Sequence[int]:
    """The tokens, one at least, of a prompt on its own. Raises Refused for what cannot be put to
    the model.

    Slow for a large prompt: run it in a thread.
    """
    if isinstance(prompt, Conversation):
        try:
            check_tools(prompt.tools)
        except ChatError as error:
            raise Refused(Reason.INVALID, str(error), error.part) from error
    return encode_prompt(prompt, model, add_bos=add_bos)


def encode_prompt(
    prompt: Prompt, model: Model, *, add_bos: bool = True, recent: RecentOf | None = None
) -> Sequence[int]:
    """`prompt_tokens` where the names of tools have been checked. What of a conversation is among
    `recent` is not encoded again."""
    if isinstance(prompt, Conversation):
        return _conversation_tokens(prompt, model, recent)
    if isinstance(prompt, str):
        check_text_size(len(prompt), model, part_of(prompt))
        tokenizer = model.language.tokenizer
        tokens: Sequence[int] = tokenizer.encode(prompt, add_bos=add_bos and tokenizer.adds_bos)
    else:
        tokens = prompt
        if tokens and not 0 <= min(tokens) <= max(tokens) < model.vocab_size:
            problem = f"token ids must be from 0 to {model.vocab_size - 1}"
            raise Refused(Reason.INVALID, problem, part_of(prompt))
    if not tokens:
        raise Refused(Reason.INVALID, "must have at least one token", part_of(prompt))
    return tokens


def _conversation_tokens(
    conversation: Conversation, model: Model, recent: RecentOf | None
) -> Sequence[int]:
    """The prompt up to where the assistant speaks, tools included."""
    messages = conversation.messages
    if not messages:
        raise Refused(Reason.INVALID, "there must be one message at least", part_of(conversation))
    size = sum(len(part) for message in messages for part in message.parts())
    size += sum(len(c.name) + len(c.arguments) for m in messages for c in m.tool_calls)
    check_text_size(size, model, part_of(conversation))
    try:
        return model.language.template.render(
            conversation.turns,
            tools=conversation.tools or None,
            continue_final=bool(conversation.beginning),
            recent=recent,
        )
    except ChatError as error:
        raise Refused(Reason.INVALID, str(error), error.part) from error


def check_text_size(size: int, model: Model, part: Part) -> None:
    """Refuses a text so long that no tokenization fits, before time is spent on tokenizing it.

    `size` is in characters, which are no more than bytes. The doubt that some tokenizers
    normalise a text first, and so shorten it, gets a factor of two.
    """
    least = size // (2 * model.language.max_token_bytes)
    if least > model.max_model_len:
        raise TooLong(model.max_model_len, least, part=part)
