"""Tools, and which may be called: any JSON, for there are many forms; described as OpenAI's."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import Meta

from cierzo.api.openai.wire.common import refuse_unless

_FUNCTION_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "1 to 256 characters"},
        "description": {"type": ["string", "null"]},
        "parameters": {"description": "The JSON schema of its arguments; none: it takes none"},
        "strict": {
            "type": ["boolean", "null"],
            "description": "Refuse the request if the schema makes no sense. Arguments are always "
            "held to a schema that does",
        },
    },
    "required": ["name"],
}
ToolsField: TypeAlias = Annotated[
    list[Any],
    Meta(
        description="Functions that the client runs, in any of the forms in use",
        extra_json_schema={
            "items": {
                "type": "object",
                "properties": {
                    "type": {"const": "function"},
                    "function": _FUNCTION_SCHEMA,
                    "cache_control": {},
                },
                "required": ["type", "function"],
            }
        },
    ),
]
ToolChoiceField: TypeAlias = Annotated[
    Any,
    Meta(
        description="Whether the model must call something, and what it may call",
        extra_json_schema={
            "anyOf": [
                {"enum": ["none", "auto", "required", None]},
                {
                    "type": "object",
                    "properties": {
                        "type": {"const": "function"},
                        "function": {
                            "type": "object",
                            "properties": {"name": {"type": "string"}},
                            "required": ["name"],
                        },
                    },
                    "required": ["type", "function"],
                },
                {
                    "type": "object",
                    "properties": {
                        "type": {"const": "allowed_tools"},
                        "allowed_tools": {
                            "type": "object",
                            "properties": {
                                "mode": {"enum": ["auto", "required"]},
                                "tools": {"type": "array", "minItems": 1},
                            },
                            "required": ["mode", "tools"],
                        },
                    },
                    "required": ["type", "allowed_tools"],
                },
            ]
        },
    ),
]


def check_legacy(functions: object, function_call: object) -> None:
    """Raises ApiError for OpenAI's older form of tools, which asks for an older form of answer."""
    older = "OpenAI replaced this by tools and tool_choice; send those"
    refuse_unless("functions", functions, older, [])
    refuse_unless("function_call", function_call, older, "none", "auto")
