"""Tools in every form that clients send, read as functions that the client runs.

Frameworks, MCP servers and other providers' APIs write the same function in their own ways: inside
`function` or bare, its schema as `parameters` or `input_schema`, one by one or as a group. Tools
that only their own server could run are left out where there are functions beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec

from cierzo.api.errors import bad_request, unsupported
from cierzo.chat.tools import Tool
from cierzo.grammar.schema.meant import meant

_OBJECT: Final = {"type": "object"}
_KEPT = 512  # schemas whose meaning is remembered, none of them large
_LARGE = 50_000  # bytes
# OpenAI's word, Anthropic's, MCP's, and Gemini's two.
_SCHEMAS = (
    *("parameters", "input_schema", "inputSchema"),
    *("parametersJsonSchema", "parameters_json_schema"),
)
_GROUPS = ("functionDeclarations", "function_declarations")  # Gemini's
# What says nothing to the model: hints for who runs the function, caches and screens.
_HARMLESS = frozenset(
    {
        *("type", "function", "title", "display_name", "displayName", "icons", "annotations"),
        *("outputSchema", "output_schema", "response", "execution", "metadata", "meta", "tags"),
        *("cache_control", "cacheControl", "defer_loading", "allowed_callers", "version", "id"),
        *("return", "returns", "example", "examples", "category", "enabled", "timeout"),
        *("server", "server_name", "serverName", "deprecated"),
        *("eager_input_streaming", "input_examples", "copilot_cache_control", "index"),
    }
)


@dataclass
class ReadTools:
    """The functions, and a line on each thing about them that could not be taken as it stands."""

    tools: list[Tool] = field(default_factory=list)
    places: list[str] = field(default_factory=list)  # where the request has each of them
    warnings: list[str] = field(default_factory=list)


def read_tools(given: list[Any] | None) -> ReadTools:
    """The tools as the rooms below know them. `tools: []` means none.

    Raises ApiError, naming the part, for what is no tool, and where no tool is a function.
    """
    read = ReadTools()
    left_out: list[str] = []
    seen: dict[str, Tool] = {}
    for place, entry in _apart(given or []):
        function = _function_in(entry, place)
        if function is None:
            left_out.append(place)
            read.warnings.append(f"{place}: {_only_there(entry)}; it is left out")
            continue
        tool = _tool(*function, read.warnings)
        if seen.setdefault(tool.name, tool) is tool or seen[tool.name] != tool:
            read.tools.append(tool)
            read.places.append(function[1])
    if left_out and not read.tools:
        place = left_out[0]
        entry = dict(_apart(given or []))[place]
        raise unsupported(f"{place}.type", f"{_only_there(entry)}; leave it out")
    return read


def _apart(given: list[Any]) -> Iterator[tuple[str, Any]]:
    """Each tool with its place. A group of Gemini's is its functions."""
    for index, entry in enumerate(given):
        place = f"tools[{index}]"
        group = next((g for g in _GROUPS if isinstance(entry, dict) and g in entry), None)
        if group is None or not isinstance(entry[group], list):
            yield place, entry
            continue
        for at, function in enumerate(entry[group]):
            yield f"{place}.{group}[{at}]", function


def _function_in(entry: Any, place: str) -> tuple[Mapping[str, Any], str, Mapping[str, Any]] | None:
    """The function with its place and what is around it; None: no function of the client's."""
    if not isinstance(entry, dict):
        raise bad_request(f"{place}: a tool must be an object", place)
    kind = entry.get("type")
    is_function = kind is None or (isinstance(kind, str) and kind.lower() in ("", "function"))
    inner = entry.get("function")
    if is_function and isinstance(inner, dict):
        return inner, f"{place}.function", entry
    if is_function and inner is not None:
        raise bad_request(f"{place}.function: must be an object", f"{place}.function")
    has_schema = any(name in entry for name in _SCHEMAS)
    if "name" in entry and (is_function or (kind == "custom" and has_schema)):
        return entry, place, entry
    if is_function and kind:
        missing = f"{place}.function"
        raise bad_request(f"{missing}: this field is required", missing)
    return None


def _only_there(entry: Mapping[str, Any]) -> str:
    kind = str(entry.get("type") or next(iter(entry), ""))[:60]
    return f"{kind!r} is no function, and this server runs no tools of its own"


def _tool(
    function: Mapping[str, Any], place: str, around: Mapping[str, Any], warnings: list[str]
) -> Tool:
    _check_fields(function, place)
    name = function.get("name")
    if not isinstance(name, str):
        wrong = "this field is required" if name is None else "must be a string"
        raise bad_request(f"{place}.name: {wrong}", f"{place}.name")
    description = _described(function.get("description"))
    strict = function.get("strict", around.get("strict")) is True
    parameters = _parameters(function, place, strict, warnings)
    return Tool(name, description, parameters, strict)


def _described(given: Any) -> str | None:
    """A list of texts is their lines; what else is not text is the JSON that it is."""
    if given is None or isinstance(given, str):
        return given
    if isinstance(given, list) and all(isinstance(line, str) for line in given):
        return "\n".join(given)
    return json.dumps(given, ensure_ascii=False)


def _check_fields(function: Mapping[str, Any], place: str) -> None:
    """Raises ApiError for a field that nobody knows: it may be one that was to say something."""
    fields = {"name", "description", "strict", *_SCHEMAS, *_HARMLESS}
    for name in function:
        if name not in fields and not name.startswith(("_", "x-", "x_")):
            param = f"{place}.{name[:60]}"
            raise bad_request(f"{param}: there is no such parameter", param)


def _parameters(
    function: Mapping[str, Any], place: str, strict: bool, warnings: list[str]
) -> Mapping[str, Any] | None:
    """The schema, as it is meant; nothing in any form is a function without arguments."""
    key = next((key for key in _SCHEMAS if function.get(key) is not None), "parameters")
    given = _parsed(function.get(key))
    if given is None or given in ("", []):
        return None
    text = msgspec.json.encode(given)
    read = (_as_meant if len(text) < _LARGE else _as_meant.__wrapped__)(text)
    if isinstance(read, dict):
        return read
    param = f"{place}.{key}"
    if strict:
        raise bad_request(f"{param}: must be a JSON schema, which is an object", param)
    warnings.append(f"{param} is no JSON schema; arguments are held to a JSON object only")
    return _OBJECT


# An agent sends the same schemas with every request. What is made of one is never changed.
@lru_cache(maxsize=_KEPT)
def _as_meant(schema: bytes) -> Any:
    return meant(msgspec.json.decode(schema), arguments=True)


def _parsed(given: Any) -> Any:
    """JSON in a string is what it says."""
    if isinstance(given, str) and given.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(given)
        except (ValueError, RecursionError):
            return given
    return given
