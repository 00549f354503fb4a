"""The ChatTemplate protocol: messages to the tokens of a prompt."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Protocol

from cierzo.chat.calls.tool_format import ToolFormat
from cierzo.chat.messages import Message
from cierzo.chat.recent import RecentOf
from cierzo.chat.tools import Tool


class ChatTemplate(Protocol):
    """How one model writes a conversation. Safe to use from several threads at once."""

    @property
    def supports_tools(self) -> bool:
        """Whether the model was taught to read tools; if not, its prompt explains them."""

    @property
    def tool_format(self) -> ToolFormat:
        """How the model writes calls."""

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] | None = None,
        continue_final: bool = False,
        recent: RecentOf | None = None,
    ) -> array[int]:
        """The prompt up to where the assistant speaks.

        An empty list of tools is none; names of tools have been checked (`check_tools`). With
        `continue_final`, the final message, which has words of the assistant's (`beginning_in`), is
        the beginning of the answer. Nothing in a message or tool becomes a control token. What is
        among `recent` is not encoded again; that changes nothing but the time. Raises ChatError, in
        one line, for what cannot be written.
        """
