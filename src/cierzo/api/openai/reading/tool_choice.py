"""Which tools may be called, in the forms of several APIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cierzo.api.errors import ApiError, bad_request
from cierzo.chat.tools import ChoiceMode, Tool, ToolChoice

_PARAM = "tool_choice"
_SET = "tool_choice.allowed_tools"
_MODES: Mapping[str, ChoiceMode] = {
    "none": "none",
    "auto": "auto",
    "validated": "auto",  # Gemini's: arguments are always valid
    "required": "required",
    "any": "required",  # Anthropic's, Mistral's and Gemini's word
}
_KINDS = "auto, none, required, function, allowed_tools"


@dataclass(frozen=True)
class ReadChoice:
    """`one`: it names the one function to call, so there is one call, as at OpenAI."""

    choice: ToolChoice
    one: bool = False


def read_choice(given: Any, tools: Sequence[Tool]) -> ReadChoice:
    """What may be called; without tools, nothing. Raises ApiError for what says neither."""
    if given is None or given == "":
        return _mode("auto", tools)
    if isinstance(given, str):
        if given.lower() in _MODES:
            return _mode(_MODES[given.lower()], tools)
        if any(tool.name == given for tool in tools):
            return ReadChoice(ToolChoice("required", (given,)), one=True)
        raise bad_request(
            f"{_PARAM}: {given[:60]!r} is none of auto, none, required, and no tool's name", _PARAM
        )
    if not isinstance(given, dict):
        raise bad_request(f"{_PARAM}: must be a string or an object", _PARAM)
    return _of_object(given, tools)


def _of_object(given: Mapping[str, Any], tools: Sequence[Tool]) -> ReadChoice:
    kind = given.get("type")
    if kind is None and "mode" in given and "tools" not in given:
        kind = given["mode"]
    name = _name_in(given)
    lower = kind.lower() if isinstance(kind, str) else kind
    if lower in ("function", "tool", None, "") and name is not None:
        return ReadChoice(ToolChoice("required", (name,)), one=True)
    if lower == "function":
        raise bad_request(f"{_PARAM}.function.name: this field is required", f"{_PARAM}.function")
    if isinstance(lower, str) and lower in _MODES:
        read = _mode(_MODES[lower], tools)
        alone = given.get("disable_parallel_tool_use") is True  # Anthropic's
        return ReadChoice(read.choice, one=alone)
    if lower == "allowed_tools":
        return ReadChoice(_allowed(given))
    raise _unknown(kind)


def _unknown(kind: Any) -> ApiError:
    where = f"{_PARAM}.type"
    return bad_request(f"{where}: {str(kind)[:60]!r} is not known here; these are: {_KINDS}", where)


def _mode(mode: ChoiceMode, tools: Sequence[Tool]) -> ReadChoice:
    return ReadChoice(ToolChoice("none" if mode == "auto" and not tools else mode))


def _allowed(given: Mapping[str, Any]) -> ToolChoice:
    """Calls of some of the tools only. OpenAI's form wraps the set, OpenRouter's does not."""
    inner = given.get("allowed_tools")
    allowed = inner if isinstance(inner, dict) else given
    mode, listed = allowed.get("mode"), allowed.get("tools")
    meant = _MODES.get(mode.lower(), "none") if isinstance(mode, str) else "none"
    if meant == "none" or not listed:
        raise bad_request(f"{_SET}: needs a mode, auto or required, and a list of tools", _SET)
    if not isinstance(listed, list):
        raise bad_request(f"{_SET}: tools must be a list", _SET)
    names = [_name_in(tool) for tool in listed]
    if any(name is None for name in names):
        raise bad_request(f"{_SET}: a tool in the list has no name", _SET)
    return ToolChoice(meant, tuple(map(str, names)))


def _name_in(tool: Any) -> str | None:
    """The name of a function; it stands inside `function`, bare, or alone."""
    if isinstance(tool, dict):
        inner = tool.get("function")
        tool = inner.get("name") if isinstance(inner, dict) else inner or tool.get("name")
    return tool if isinstance(tool, str) and tool else None
