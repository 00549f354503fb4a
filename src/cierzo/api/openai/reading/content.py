"""What a message says, in every form that clients send: a text, parts, or a tool's own JSON.

Only text reaches the model. What a model thought in an earlier turn is dropped: models that think
are not shown it again either. Whatever else a part may be (an image, a file) would have to be seen,
and is refused by its name.
"""

from __future__ import annotations

import json

import msgspec
from msgspec import UNSET, Raw

from cierzo.api.errors import bad_request
from cierzo.api.openai.wire.messages import Part
from cierzo.api.openai.wire.unread import Unread, is_given, value_of

# Types of parts, in the words of several APIs, by the key that has the text.
_TEXTS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
}
_THOUGHTS = frozenset(
    ("thinking", "redacted_thinking", "reasoning", "reasoning_content", "reasoning_text")
)
_SEEN = frozenset(
    ("image", "image_url", "input_image", "audio", "input_audio", "video", "video_url")
)
_CALL = "tool_use"  # Anthropic's; frameworks keep it beside `tool_calls`
_KNOWN = _SEEN.union(_TEXTS, _THOUGHTS, ("tool_result", "input_file"))
_LONGEST_JSON = 500_000  # bytes of arguments, and of a result that comes as JSON and not as text
_DEEPEST_JSON = 64


class _Value(msgspec.Struct, frozen=True):
    value: Unread = UNSET


_VALUE = msgspec.json.Decoder(_Value)
_TEXT = msgspec.json.Decoder(str)
_PARTS = msgspec.json.Decoder(list[str | Part])


def read_content(sent: Unread, param: str, *, of_tool: bool) -> str | tuple[str, ...] | None:
    """A text, or the texts of the parts; None for null. Raises ApiError naming what is not text.

    A tool's result may be any JSON: where that is no list of parts, the JSON is the text.
    """
    if not isinstance(sent, Raw) or not is_given(sent):
        return None
    first = bytes(memoryview(sent)[:1])
    if first not in (b"[", b"{"):
        return text_of(sent, param)
    try:
        parts = _PARTS.decode(sent if first == b"[" else b"[%b]" % bytes(sent))
    except msgspec.ValidationError:
        if of_tool:
            return text_of(sent, param)
        raise bad_request(f"{param}: expected a text or a list of parts", param) from None
    if of_tool and parts and not any(_is_part_of_result(part) for part in parts):
        return text_of(sent, param)
    texts: list[str] = []
    for index, part in enumerate(parts):
        texts += _texts_of(part, f"{param}[{index}]", of_tool)
    return tuple(texts)


def text_of(sent: Unread, param: str) -> str:
    """A text as it is; none for null; else the JSON, on one line and with letters as they are."""
    if not isinstance(sent, Raw):
        return ""
    if is_text(sent):
        return _TEXT.decode(sent)
    if not is_given(sent):
        return ""
    value = value_of(sent, param, most_bytes=_LONGEST_JSON, most_depth=_DEEPEST_JSON)
    return json.dumps(value, ensure_ascii=False)


def arguments_of(sent: Unread, param: str) -> str:
    """The arguments of a call, which are JSON text, or JSON. They are read and written anew later,
    so ApiError is raised for more than JSON may have."""
    text = text_of(sent, param)
    if len(text) > _LONGEST_JSON:
        most = f"{len(text):,} characters are more than the {_LONGEST_JSON:,} allowed"
        raise bad_request(f"{param}: {most}", param)
    return text


def is_text(sent: Unread) -> bool:
    """Whether the JSON is a string."""
    return isinstance(sent, Raw) and bytes(memoryview(sent)[:1]) == b'"'


def calls_in(sent: Unread) -> list[Part]:
    """The parts that are calls, where there are any."""
    if not isinstance(sent, Raw) or bytes(memoryview(sent)[:1]) != b"[":
        return []
    try:
        parts = _PARTS.decode(sent)
    except msgspec.ValidationError:
        return []
    return [part for part in parts if isinstance(part, Part) and part.kind == _CALL and part.name]


def _is_part_of_result(part: str | Part) -> bool:
    """Whether it is a part, rather than an item of a list that is the result of a tool."""
    return isinstance(part, Part) and (part.kind in _KNOWN or is_given(part.source))


def _texts_of(part: str | Part, at: str, of_tool: bool) -> tuple[str, ...]:
    """The texts of a part, which are one or none, or those inside a result."""
    if isinstance(part, str):
        return (part,)
    if part.kind in _THOUGHTS or (part.kind == _CALL and part.name):
        return ()
    if part.kind == "tool_result" and of_tool:
        inside = read_content(part.content, f"{at}.content", of_tool=True)
        return (inside,) if isinstance(inside, str) else inside or ()
    if part.kind not in _TEXTS:
        kind = f"{part.kind[:80]!r} is nothing that this model reads"
        raise bad_request(f"{at}.type: {kind}; it reads parts of type 'text' only", f"{at}.type")
    key = _TEXTS[part.kind]
    sent: Unread = getattr(part, key)
    if not isinstance(sent, Raw):  # a text by another name
        sent, key = part.content, "content" if is_given(part.content) else key
    if not isinstance(sent, Raw):
        raise bad_request(f"{at}.{key}: this field is required", f"{at}.{key}")
    if bytes(memoryview(sent)[:1]) == b"{":  # as in OpenAI's threads
        return (text_of(_VALUE.decode(sent).value, f"{at}.{key}.value"),)
    return (text_of(sent, f"{at}.{key}"),)
