"""The functions that a model may call, and which of them a request lets it call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from cierzo.chat.messages import ChatError

ChoiceMode: TypeAlias = Literal["none", "auto", "required"]

LONGEST_NAME = 256  # characters; those of MCP servers may have 128 behind a prefix
_NAME = re.compile(rf"(?=.*\S)[^\x00-\x1f\x7f\ud800-\udfff]{{1,{LONGEST_NAME}}}")
_NOTHING = {"type": "object", "properties": {}}  # the parameters of a function that has none


@dataclass(frozen=True, slots=True)
class Tool:
    """A function. `parameters` is the JSON schema of its arguments; None: it takes none.

    `strict`: rather no answer than arguments that its schema does not govern.
    """

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool = False

    def to_openai(self) -> dict[str, Any]:
        """The object that chat templates read: OpenAI's, as short as it can be."""
        function: dict[str, Any] = {"name": self.name}
        if self.description is not None:
            function["description"] = self.description
        function["parameters"] = dict(_NOTHING if self.parameters is None else self.parameters)
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model must call something, and what it may call: `names`, or all if empty."""

    mode: ChoiceMode = "auto"
    names: tuple[str, ...] = ()


def check_tools(tools: Sequence[Tool]) -> None:
    """Raises ChatError for what is not a name, and for one that two tools have."""
    names: set[str] = set()
    for index, tool in enumerate(tools):
        part, name = ("tools", index, "name"), repr(tool.name[:80])
        if not _NAME.fullmatch(tool.name):
            problem = f"must be 1 to {LONGEST_NAME} characters, none of them a control character"
            raise ChatError(f"{name} {problem}", part)
        if tool.name in names:
            problem = "is the name of another tool too; give each tool a name of its own"
            raise ChatError(f"{name} {problem}", part)
        names.add(tool.name)


def callable_tools(tools: Sequence[Tool], choice: ToolChoice) -> list[tuple[int, Tool]]:
    """The tools that may be called, each with its place in the request.

    Raises ChatError if `choice` names a tool that is not there, or wants a call and there is none.
    """
    check_tools(tools)
    names = {tool.name for tool in tools}
    unknown = next((name for name in choice.names if name not in names), None)
    if unknown is not None:
        raise ChatError(f"{unknown[:80]!r} is not one of the tools", ("tool_choice",))
    if choice.mode == "required" and not tools:
        raise ChatError("it asks for a call, but there are no tools", ("tool_choice",))
    if choice.mode == "none":
        return []
    return [(i, t) for i, t in enumerate(tools) if not choice.names or t.name in choice.names]
