"""What a client says that the answer will be (OpenAI's `prediction`)."""

from __future__ import annotations

import msgspec

from cierzo.api.openai.wire.unread import Unread


class _Part(msgspec.Struct):
    text: str = ""


class _Prediction(msgspec.Struct):
    content: str | list[str | _Part] = ""


_DECODER = msgspec.json.Decoder(_Prediction)


def predicted_text(json: Unread) -> str:
    """The text; none if it is not given, or in a form that cannot be read: it changes no answer."""
    if not isinstance(json, msgspec.Raw):
        return ""
    try:
        content = _DECODER.decode(json).content
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    parts = [content] if isinstance(content, str) else content
    return "".join(part if isinstance(part, str) else part.text for part in parts)
