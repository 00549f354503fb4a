"""One request of a session: the history up to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

# Messages in OpenAI's form whose content is text, never null and never parts.
Chat: TypeAlias = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class Turn:
    """What a client sends, and how long it thought before it did (None: not recorded)."""

    messages: Chat
    think_s: float | None = None
