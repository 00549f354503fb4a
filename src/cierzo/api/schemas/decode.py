"""From the bytes of a body to a checked request, or to one line that says what is wrong where."""

from __future__ import annotations

import json
import re
from typing import NoReturn, TypeVar

import msgspec

from cierzo.api.errors import ApiError, bad_request
from cierzo.chat.messages import ROLES

T = TypeVar("T")

# A whole string, or a bracket outside of one. A string that never ends matches nothing.
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)
_AT = re.compile(r"(.*?)(?: - at (?:`key` in )?`\$\.?(.*)`)?", re.DOTALL)
_PART_TYPE = re.compile(r".*\.content\[(\d+|\.\.\.)\]\.type")
_KNOWN_TYPES = {
    re.compile(r"tools\[(\d+|\.\.\.)\]\.type"): "function (the server runs no tools of its own)",
    re.compile(r"tool_choice\.type"): "function, allowed_tools",
    re.compile(r"response_format\.type"): "text, json_object, json_schema",
}
_ROLE = re.compile(r"messages\[(\d+|\.\.\.)\]\.role")
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_FIELD = re.compile(r"Object missing required field `(.*)`")


def decode_request(body: bytes, decoder: msgspec.json.Decoder[T], max_depth: int) -> T:
    """Reads a body. Raises ApiError 400 for JSON that is invalid, too deep, or of another type."""
    if not body:
        raise bad_request("the request has no body; send a JSON object")
    check_depth(body, max_depth)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        _explain(body)


def check_depth(body: bytes, max_depth: int) -> None:
    """Raises ApiError for JSON nested deeper than `max_depth`, before anything parses it."""
    if body.count(b"[") + body.count(b"{") <= max_depth:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(body):
        first = body[match.start()]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                raise bad_request(f"the JSON is nested deeper than {max_depth} levels")
        elif first in b"]}":
            depth -= 1


def _invalid(message: str) -> ApiError:
    """msgspec's words, with the field in front and as `param`."""
    match = _AT.fullmatch(message)
    text, path = (match[1], match[2] or "") if match else (message, "")
    if unknown := _UNKNOWN_FIELD.fullmatch(text):
        path = f"{path}.{unknown[1]}" if path else unknown[1]
        return bad_request(f"{path[:200]}: there is no such parameter", path[:200])
    if missing := _MISSING_FIELD.fullmatch(text):
        path = f"{path}.{missing[1]}" if path else missing[1]
        return bad_request(f"{path}: this field is required", path)
    if _ROLE.fullmatch(path):
        text += "; it must be one of " + ", ".join(ROLES)
    for field, known in _KNOWN_TYPES.items():
        if field.fullmatch(path) and text.startswith("Invalid"):
            return bad_request(f"{path}: {text[:200]}; known here: {known}", path)
    if _PART_TYPE.fullmatch(path):
        return bad_request(
            f"{path}: {text[:200]}; this model reads parts of type 'text' only", path
        )
    text = text[:1].lower() + text[1:].replace("`", "")
    return bad_request(f"{path}: {text[:300]}" if path else text[:300], path or None)


def _explain(body: bytes) -> NoReturn:
    """Says why a body is not JSON; the fast decoder's words do not always say where."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad_request(f"the body is not UTF-8 at byte {error.start}") from None

    def constant(name: str) -> NoReturn:
        raise bad_request(f"the JSON is malformed: {name} is not a JSON number")

    try:
        json.loads(text, parse_constant=constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise bad_request(f"the JSON is malformed: {error.msg} at {where}") from None
    except ValueError as error:
        raise bad_request(f"the JSON is malformed: {error}") from None
    raise bad_request("the JSON is malformed: a string holds half of a UTF-16 surrogate pair")
