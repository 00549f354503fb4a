"""Which form of tool calls a checkpoint's own template writes: found by letting it write one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from cierzo.chat.calls.mistral_calls import mistral_format
from cierzo.chat.calls.text_calls import CLOSE, OPEN, text_format
from cierzo.chat.calls.tool_format import ToolFormat
from cierzo.chat.messages import ChatError, Message, ToolCall
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.chat.tools import Tool

_TOOL = Tool("probe", "Does nothing.", {"type": "object", "properties": {"a": {"type": "integer"}}})
_ID = "probe0123"
_CALL = ToolCall(_TOOL.name, '{"a": 1}', _ID)
_ASKED = Message("user", "Hello")
_CALLED = (
    _ASKED,
    Message("assistant", tool_calls=(_CALL,)),
    Message("tool", "Done.", tool_call_id=_ID, name=_TOOL.name),
)
_TWICE = (
    _ASKED,
    Message("assistant", "I call.", tool_calls=(_CALL, replace(_CALL, id="probe0124"))),
)
_OBJECT = f'{{"name": "{_TOOL.name}", "arguments": {{"a": 1}}'
_TAGGED = f"{OPEN}\n{_OBJECT}}}\n{CLOSE}"


def native_format(
    render: Callable[[Sequence[Message], Sequence[Tool]], str], tokenizer: Tokenizer
) -> ToolFormat | None:
    """The form of a template that lists tools and writes calls and results in a form known here."""
    try:
        listed = render((_ASKED,), (_TOOL,))
        text = render(_CALLED, (_TOOL,))
    except ChatError:
        return None
    if "Does nothing." not in listed or "Done." not in text:
        return None
    if _TAGGED in text:
        return text_format(tokenizer, *_spaces(render))
    for written, args, ids in (
        (f'[TOOL_CALLS]{_TOOL.name}[ARGS]{{"a": 1}}', True, False),
        (f'[TOOL_CALLS]{_TOOL.name}[CALL_ID]{_ID}[ARGS]{{"a": 1}}', True, True),
        (f'[TOOL_CALLS][{_OBJECT}, "id": "{_ID}"}}]', False, True),
    ):
        if written in text:
            return mistral_format(tokenizer, args=args, ids=ids)
    return None


def _spaces(render: Callable[[Sequence[Message], Sequence[Tool]], str]) -> tuple[str, str]:
    """What a template writes between content and calls, and between calls."""
    call = re.escape(_TAGGED)
    try:
        found = re.search(rf"(?:call\.(\s*))?{call}(\s*){call}", render(_TWICE, (_TOOL,)))
    except ChatError:
        found = None
    if found is None:
        return "\n", "\n"
    return "\n" if found[1] is None else found[1], found[2]
