"""How vocabularies spell bytes: GPT-2's letters for them, and sentencepiece's `▁` and `<0x0A>`."""

from __future__ import annotations

import re

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _letters() -> dict[str, int]:
    # GPT-2's bytes_to_unicode: printable Latin-1 stands for itself, the rest for U+0100 onwards.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


BYTE_OF_LETTER = _letters()


def byte_level_bytes(piece: str) -> bytes:
    """The bytes of a byte-level piece; a piece with other letters stands for itself."""
    try:
        return bytes([BYTE_OF_LETTER[letter] for letter in piece])
    except KeyError:
        return piece.encode("utf-8", "replace")


def sentencepiece_bytes(piece: str) -> bytes:
    """The bytes of a sentencepiece piece: `▁` is a space, `<0x0A>` one byte."""
    match = _BYTE_PIECE.fullmatch(piece)
    if match:
        return bytes([int(match[1], 16)])
    return piece.replace("\u2581", " ").encode("utf-8", "replace")
