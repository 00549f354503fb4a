"""What was not taken as it stands, said beside an answer: in a header."""

from __future__ import annotations

from collections.abc import Sequence

HEADER = "x-cierzo-warning"
_MOST = 4  # lines
_LONGEST = 300  # characters of a line


def warning_header(lines: Sequence[str]) -> dict[str, str]:
    """The header for some lines, in ASCII, if there are any. The first of them are told."""
    if not lines:
        return {}
    shown = [_printable(line) for line in lines[:_MOST]]
    if len(lines) > _MOST:
        shown.append(f"and {len(lines) - _MOST} more")
    return {HEADER: "; ".join(shown)}


def _printable(line: str) -> str:
    """A line that neither a header nor a terminal takes for more than text."""
    text = "".join(c if c.isprintable() else " " for c in line[:_LONGEST])
    return text.encode("ascii", "backslashreplace").decode()[: 2 * _LONGEST]
