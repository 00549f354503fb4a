"""The format of the answer, in the forms in which clients ask for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

_DESCRIBED = {
    "properties": {
        "type": {"enum": ["text", "json_object", "json_schema"]},
        "json_schema": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "description": {"type": "string"},
                "schema": {"type": "object"},
                "strict": {"type": "boolean"},
            },
        },
        "schema": {"type": "object"},
    }
}

# A word stands for the object with that `type`; an empty list is PHP's empty object.
ResponseFormat: TypeAlias = (
    Literal["text", "json", "json_object", "auto"]
    | Annotated[dict[str, Any], Meta(extra_json_schema=_DESCRIBED)]
    | Annotated[list[Any], Meta(max_length=0)]
)
