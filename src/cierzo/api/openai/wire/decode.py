"""From the bytes of a body to a checked request, or to one line that says what is wrong where.

All of it is linear in the body, and none of it holds the interpreter's lock for long: a body may
be megabytes of whatever a stranger likes.
"""

from __future__ import annotations

import re
from typing import Protocol, TypeVar

import msgspec

from cierzo.api.errors import ApiError, bad_request
from cierzo.chat.messages import ROLES
from cierzo.settings import Limits

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # which some editors and shells put in front of UTF-8
_HEX = rb"[0-9a-fA-F]"
# Escapes from left to right: a stretch without halves of surrogate pairs, or such a half alone.
_ESCAPES = re.compile(
    rb"(?:[^\\]+|\\u[dD][89abAB]HH\\u[dD][c-fC-F]HH|\\(?!u[dD][89a-fA-F]).){1,4096}"
    rb"|(\\u[dD][89a-fA-F]HH)|.".replace(b"H", _HEX),
    re.DOTALL,
)
_AT_BYTE = re.compile(r"(.*) \(byte (\d+)\)", re.DOTALL)
_PLACE = re.compile(r"(?:`key` in )?`\$\.?([^`]*)`")
_NO_NUMBER = re.compile(rb"-?(?:NaN|Infinity)")
_PART_TYPE = re.compile(r".*\.content\[(\d+|\.\.\.)\]\.type")
_KNOWN_TYPES = {
    re.compile(r"tools\[(\d+|\.\.\.)\]\.type"): "function (the server runs no tools of its own)",
    re.compile(r"tool_choice\.type"): "function, allowed_tools",
    re.compile(r"response_format\.type"): "text, json_object, json_schema",
}
_ROLE = re.compile(r"messages\[(\d+|\.\.\.)\]\.role")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_FIELD = re.compile(r"Object missing required field `(.*)`")


class Decoder(Protocol[T_co]):
    """Makes a request of a body, with msgspec's errors or an ApiError."""

    def decode(self, body: bytes, limits: Limits, /) -> T_co:
        """The request."""


def decode_request(body: bytes, decoder: Decoder[T], limits: Limits) -> T:
    """Reads a body. Raises ApiError 400 for JSON that is invalid, too deep, or of another type.

    Half of a surrogate pair is read as U+FFFD, which an encoder puts in its place.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK)
    if not body:
        raise bad_request("the request has no body; send a JSON object")
    try:
        try:
            return decoder.decode(body, limits)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            whole = whole_surrogates(body)
            if whole == body:
                raise
            return decoder.decode(whole, limits)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except msgspec.DecodeError as error:
        raise _malformed(body, str(error)) from None
    except RecursionError:  # the decoder's own guard, at the first bracket that is too deep
        most = limits.json_depth
        raise bad_request(f"the JSON is nested deeper than {most} levels") from None
    except UnicodeDecodeError:
        raise _not_utf8(body) from None


def whole_surrogates(body: bytes) -> bytes:
    r"""JSON with `\ufffd` for every escaped half of a surrogate pair that stands alone."""
    if rb"\ud" not in body and rb"\uD" not in body:
        return body
    return _ESCAPES.sub(lambda match: rb"\ufffd" if match[1] else match[0], body)


def _invalid(message: str) -> ApiError:
    """msgspec's words, with the field in front and as `param`."""
    text, _, place = message.rpartition(" - at ")
    match = _PLACE.fullmatch(place)
    text, path = (text, match[1]) if match else (message, "")
    if unknown := _UNKNOWN_FIELD.fullmatch(text):
        path = f"{path}.{unknown[1]}" if path else unknown[1]
        return bad_request(f"{path[:200]}: there is no such parameter", path[:200])
    if missing := _MISSING_FIELD.fullmatch(text):
        path = f"{path}.{missing[1]}" if path else missing[1]
        return bad_request(f"{path}: this field is required", path)
    if _ROLE.fullmatch(path):
        text = text[:200] + "; it must be one of " + ", ".join(ROLES)
    for field, kinds in _KNOWN_TYPES.items():
        if field.fullmatch(path) and text.startswith("Invalid"):
            return bad_request(f"{path}: {text[:200]}; known here: {kinds}", path)
    if _PART_TYPE.fullmatch(path):
        return bad_request(
            f"{path}: {text[:200]}; this model reads parts of type 'text' only", path
        )
    text = text[:1].lower() + text[1:300].replace("`", "")
    return bad_request(f"{path}: {text}" if path else text, path or None)


def _malformed(body: bytes, message: str) -> ApiError:
    """msgspec's words, with the place as editors show it."""
    match = _AT_BYTE.fullmatch(message)
    if match is None:  # the one case that has no place is the body's end
        return bad_request(
            f"the JSON is malformed: it ends too early, at {_place(body, len(body))}"
        )
    at = int(match[2])
    if constant := _NO_NUMBER.match(body, at - (body[at - 1 : at] == b"-")):
        name = constant[0].decode()
        return bad_request(f"the JSON is malformed: {name} is not a JSON number")
    words = match[1].removeprefix("JSON is malformed: ")
    return bad_request(f"the JSON is malformed: {words} at {_place(body, at)}")


def _not_utf8(body: bytes) -> ApiError:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return bad_request(f"the body is not UTF-8 at byte {error.start}")
    return bad_request("the body is not UTF-8")


def _place(body: bytes, at: int) -> str:
    line = body.count(b"\n", 0, at) + 1
    start = body.rfind(b"\n", 0, at) + 1
    return f"line {line}, column {len(body[start:at].decode('utf-8', 'replace')) + 1}"
