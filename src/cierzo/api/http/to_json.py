"""JSON as it leaves the server: one line, whatever a client takes for the end of one.

Some clients split events where Unicode ends a line (Python's `str.splitlines`, and what is built on
it). JSON may hold three of these characters as they are; the others it must escape anyway.
"""

from __future__ import annotations

import msgspec

_LINE_ENDS = tuple((end.encode(), b"\\u%04x" % ord(end)) for end in "\x85\u2028\u2029")
_encode = msgspec.json.Encoder().encode


def to_json(value: object) -> bytes:
    """The value in UTF-8, without any character that ends a line."""
    data = _encode(value)
    if not data.isascii():
        for end, escaped in _LINE_ENDS:
            data = data.replace(end, escaped)
    return data
