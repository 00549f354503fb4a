"""The one error of this room."""

from __future__ import annotations


class ModelError(Exception):
    """A model cannot be found, fetched or used.

    The text is one line that names the file, tensor or key, and says what to do.
    """
