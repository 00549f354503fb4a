"""The one spelling of what an assistant said before, whatever a client made of it.

Agents send each answer back in their next request: with its JSON written anew, without the space
around its content, with another form of nothing. Here all of them become the same again, which is
what the model wrote under its grammar, so that its tokens are found in the cache.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from cierzo.chat.calls.tool_format import SPACE
from cierzo.chat.messages import ChatError, Message, ToolCall, paired_ids
from cierzo.chat.tokenizers.tokenizer import without_surrogates

_MOST_DIGITS = 4000  # of a whole number; Python's own limit is a little higher


def canonical(messages: Sequence[Message]) -> list[Message]:
    """The messages with calls and the content beside them as the model wrote them.

    Raises ChatError for arguments that are nested too deeply.
    """
    return [
        _with_calls(index, message) if message.tool_calls else message
        for index, message in enumerate(messages)
    ]


def canonical_arguments(text: str) -> str:
    """JSON as `json.dumps` writes it, in the order of its keys; no text is no arguments.

    Text that is not JSON stays as it is. Raises RecursionError.
    """
    if not text.strip():
        return "{}"
    try:
        return without_surrogates(_encode(_decode(text)))
    except ValueError:
        return without_surrogates(text)


def _integer(digits: str) -> int | float:
    """A whole number; as a float where it has more digits than Python reads."""
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


# Made once: an agent sends all its calls of before each time.
_decode = json.JSONDecoder(parse_int=_integer).decode
_encode = json.JSONEncoder(ensure_ascii=False).encode


def in_call_order(messages: Sequence[Message]) -> list[Message]:
    """The messages with results in a row in the order of their calls; others go behind them."""
    places: dict[str, int] = {}
    keys: list[tuple[int, int, int]] = []
    run = 0
    for index, (message, ids) in enumerate(zip(messages, paired_ids(messages), strict=True)):
        if message.role == "assistant":
            if index == 0 or messages[index - 1].role != "assistant":
                places = {}
            places |= {id_: len(places) + i for i, id_ in enumerate(ids)}
        if message.role != "tool":
            run = index + 1
            keys.append((index, 0, 0))
        else:
            keys.append((run, places.get(ids[0], len(messages)), index))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [messages[index] for index in order]


def _with_calls(index: int, message: Message) -> Message:
    calls: list[ToolCall] = []
    for place, call in enumerate(message.tool_calls):
        try:
            arguments = canonical_arguments(call.arguments)
            calls.append(ToolCall(call.name, arguments, call.id))
        except RecursionError:
            part = ("messages", index, "tool_calls", place, "arguments")
            raise ChatError("they are nested too deeply", part) from None
    content = _trimmed(message.parts())
    return Message(message.role, content, message.name, tuple(calls), message.tool_call_id)


def _trimmed(parts: Sequence[str]) -> str | tuple[str, ...] | None:
    """The parts without white space around them all; None if that is everything."""
    kept = list(parts)
    while kept and not (first := kept[0].lstrip(SPACE)):
        del kept[0]
    if not kept:
        return None
    kept[0] = first
    while not (last := kept[-1].rstrip(SPACE)):
        del kept[-1]
    kept[-1] = last
    kept = [part for part in kept if part]
    return kept[0] if len(kept) == 1 else tuple(kept)
