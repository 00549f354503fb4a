"""The one error of this room."""

from __future__ import annotations

_LENGTH = 1_000


class ModelError(Exception):
    """A model cannot be found, fetched or used.

    The text is one line that names the file, tensor or key, and says what to do. Names in it may
    come from a damaged or hostile file: what is not printable is shown as a question mark, and a
    very long text loses its middle.
    """

    def __init__(self, text: str) -> None:
        shown = text
        if len(text) > _LENGTH:
            shown = f"{text[: _LENGTH // 2]} ... {text[-_LENGTH // 2 :]}"
        super().__init__("".join(c if c.isprintable() else "?" for c in shown))
