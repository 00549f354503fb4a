"""What a request says of how it will be asked again: its session, and for how long to expect it.

There are several words for either, of several APIs. They change no answer, so a form that is not
known says nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import msgspec

from cierzo.api.openai.wire.chat import ChatRequest
from cierzo.api.openai.wire.routing import RoutedRequest
from cierzo.api.openai.wire.unread import Unread
from cierzo.engine.cache.hints import Hints

SESSION_HEADER = "x-session-id"  # OpenRouter's; what the body says goes first
_MOST_BYTES = 2_048  # of a value that is read
_TTL = re.compile(r"(\d{1,6})\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_KEY = b'"ttl"'


class _Lasting(msgspec.Struct):
    ttl: str | None = None


class _Marked(msgspec.Struct):
    cache_control: _Lasting | None = None


_TEXT = msgspec.json.Decoder(str)
_LASTING = msgspec.json.Decoder(_Lasting)
_PARTS = msgspec.json.Decoder(list[str | _Marked])


def hints_of(request: RoutedRequest, header: str | None) -> Hints:
    """The hints of a request; `header` is its `SESSION_HEADER`."""
    name = _text(request.session_id) or header or _text(request.prompt_cache_key)
    session = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=16).digest()
    ttls = [
        _text(request.prompt_cache_retention),
        _ttl_in(request.prompt_cache_options),
        _ttl_in(request.cache_control),
    ]
    if isinstance(request, ChatRequest):
        ttls += _ttls_in_prompt(request)
    return Hints(session if name else b"", max(map(_seconds, ttls)))


def _ttls_in_prompt(request: ChatRequest) -> Iterable[str]:
    """Those of marks on messages, parts and tools. A mark is for what stands before it; all of a
    prompt is kept as the one that lasts longest says."""
    for message in request.messages:
        yield _ttl_in(message.cache_control)
        content = message.content
        if isinstance(content, msgspec.Raw) and _KEY in bytes(content):
            yield from _ttls_in_parts(content)
    for tool in request.tools or ():
        if isinstance(tool, dict) and "cache_control" in tool:
            yield _ttl_of(tool["cache_control"])


def _ttls_in_parts(content: msgspec.Raw) -> Iterable[str]:
    try:
        parts = _PARTS.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    for part in parts:
        if isinstance(part, _Marked) and part.cache_control is not None:
            yield part.cache_control.ttl or ""


def _ttl_in(json: Unread) -> str:
    if not isinstance(json, msgspec.Raw) or memoryview(json).nbytes > _MOST_BYTES:
        return ""
    try:
        return _LASTING.decode(json).ttl or ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _ttl_of(value: object) -> str:
    """The same, of JSON that was read already."""
    ttl = value.get("ttl") if isinstance(value, dict) else None
    return ttl if isinstance(ttl, str) else ""


def _text(json: Unread) -> str:
    if not isinstance(json, msgspec.Raw) or memoryview(json).nbytes > _MOST_BYTES:
        return ""
    try:
        return _TEXT.decode(json)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


def _seconds(ttl: str) -> float:
    """How long that is; 0 for what says nothing, such as `in_memory`."""
    found = _TTL.fullmatch(ttl)
    return float(int(found[1]) * _SECONDS[found[2]]) if found else 0.0
