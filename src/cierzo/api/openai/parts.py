"""How OpenAI's requests spell the parts of a conversation."""

from __future__ import annotations

from collections.abc import Sequence

from cierzo.chat.calls.schema_rules import Warn
from cierzo.chat.messages import Part

_SCHEMA = "response_format.json_schema.schema"


def spelled(part: Part, tool_places: Sequence[str]) -> str:
    """A part as the request has it: ("tools", 0, "name") is "tools[0].function.name".

    `tool_places` says where the request has each tool, for there are forms in which it has groups
    of them.
    """
    match part:
        case ("tools", int(index), *rest) if index < len(tool_places):
            return _joined(tool_places[index], rest)
        case ("form",):
            return "tools" if tool_places else "response_format"
        case ("schema", *rest):
            return _joined(_SCHEMA, rest)
        case ("messages", int(index), "tool_calls", int(place), *rest):
            return _joined(f"messages[{index}].tool_calls[{place}].function", rest)
        case ("messages", int(index), *rest):
            return _joined(f"messages[{index}]", rest)
    return ".".join(map(str, part))


def spelled_into(lines: list[str], tool_places: Sequence[str]) -> Warn:
    """Collects what `prepare` warns of, each line once."""

    def warn(line: str, part: Part) -> None:
        spelling = f"{spelled(part, tool_places)}: {line}"
        if spelling not in lines:
            lines.append(spelling)

    return warn


def _joined(start: str, rest: Sequence[str | int]) -> str:
    return ".".join((start, *map(str, rest)))
