"""Tools, and which of them to call, as clients send them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cierzo.api.errors import bad_request
from cierzo.api.schemas.common import refuse_unless
from cierzo.chat.tools import Tool, ToolChoice


class FunctionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function. `parameters` is the JSON schema of its arguments; none: it takes none."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None  # arguments are always held to their schema


class FunctionTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool that the client runs. This server runs none itself."""

    type: Literal["function"]
    function: FunctionSpec
    cache_control: Any = None


class FunctionName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function by its name."""

    name: str


class NamedTool(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="function"
):
    """The one tool to call."""

    function: FunctionName


class AllowedTool(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="function"
):
    """One of the tools that may be called; its name stands inside `function`, or bare."""

    function: FunctionName | None = None
    name: str | None = None


class AllowedSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some of the tools, and whether one must be called."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Meta(min_length=1)]


class AllowedTools(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="allowed_tools"
):
    """Calls of some of the tools only. OpenAI's form wraps the set, OpenRouter's does not."""

    allowed_tools: AllowedSet | None = None
    mode: Literal["auto", "required"] | None = None
    tools: Annotated[list[AllowedTool], Meta(min_length=1)] | None = None


ToolChoiceField: TypeAlias = Literal["none", "auto", "required"] | NamedTool | AllowedTools


def tools_of(tools: list[FunctionTool] | None) -> list[Tool]:
    """The tools as the rooms below know them. `tools: []` means none."""
    return [
        Tool(
            tool.function.name,
            tool.function.description,
            tool.function.parameters,
            bool(tool.function.strict),
        )
        for tool in tools or ()
    ]


def choice_of(choice: ToolChoiceField | None, tools: list[Tool]) -> ToolChoice:
    """What may be called; without tools, nothing."""
    if isinstance(choice, NamedTool):
        return ToolChoice("required", (choice.function.name,))
    if isinstance(choice, AllowedTools):
        allowed = choice.allowed_tools
        mode, listed = (allowed.mode, allowed.tools) if allowed else (choice.mode, choice.tools)
        if mode is None or listed is None:
            param = "tool_choice.allowed_tools"
            raise bad_request(f"{param}: needs a mode and a list of tools", param)
        return ToolChoice(mode, tuple(_name_of(tool) for tool in listed))
    if choice in (None, "auto"):
        return ToolChoice("auto" if tools else "none")
    return ToolChoice(choice)


def names_one(choice: ToolChoiceField | None) -> bool:
    """Whether it is the one function to call."""
    return isinstance(choice, NamedTool)


def _name_of(tool: AllowedTool) -> str:
    name = tool.function.name if tool.function else tool.name
    if name is None:
        param = "tool_choice.allowed_tools"
        raise bad_request(f"{param}: a tool in the list has no name", param)
    return name


def check_legacy(functions: list[Any] | None, function_call: Any) -> None:
    """Raises ApiError for OpenAI's older form of tools, which asks for an older form of answer."""
    older = "OpenAI replaced this by tools and tool_choice; send those"
    refuse_unless("functions", functions, older, [])
    refuse_unless("function_call", function_call, older, "none", "auto")
