"""The schema that an answer must be valid under, in every form in which clients ask for one."""

from __future__ import annotations

from typing import Any

from cierzo.api.errors import bad_request, unsupported
from cierzo.api.openai.wire.formats import ResponseFormat
from cierzo.grammar.schema.dialect import TYPES

_PARAM = "response_format"
_FREE = ("text", "auto")
_ANY_OBJECT: dict[str, Any] = {"type": "object"}
# What stands beside the schema in OpenAI's form; none of it changes what is valid.
_LABELS = {"name", "description", "strict"}


def answer_schema(
    response_format: ResponseFormat | None, structured: bool | dict[str, Any] | None
) -> dict[str, Any] | None:
    """The JSON schema that the content must be valid under; None for any text.

    It stands in `response_format`, or as `json` in vLLM's `structured_outputs`, which is a flag to
    OpenRouter. Raises ApiError for other forms, and for one in each.
    """
    schema = schema_of(response_format)
    if not isinstance(structured, dict):
        return schema
    for name, value in structured.items():
        param = f"structured_outputs.{name[:80]}"
        if name != "json" and value:
            raise unsupported(param, "only json is known here")
    given = structured.get("json")
    if given is None:
        return schema
    if schema is not None:
        raise bad_request(f"{_PARAM}: structured_outputs has a schema, too", _PARAM)
    return _object(given, "structured_outputs.json")


def schema_of(response_format: ResponseFormat | None) -> dict[str, Any] | None:
    """The schema in a `response_format`."""
    if isinstance(response_format, str):
        return None if response_format in _FREE else _ANY_OBJECT
    if not response_format or not isinstance(response_format, dict):
        return None
    kind = response_format.get("type")
    if isinstance(kind, str):
        kind = kind.lower()
    if kind in _FREE or (kind is None and response_format.keys() <= {"type"}):
        return None
    if kind in ("json_object", "json"):  # llama-server and others take a schema here, too
        schema = response_format.get("schema")
        return _ANY_OBJECT if schema is None else _object(schema, f"{_PARAM}.schema")
    if kind == "json_schema":
        return _named_schema(response_format)
    if isinstance(kind, str) and kind in TYPES:  # the schema itself
        return response_format
    forms = "text, json_object, json_schema"
    raise bad_request(
        f"{_PARAM}.type: {str(kind)[:80]!r} is not known here; known: {forms}", f"{_PARAM}.type"
    )


def _named_schema(response_format: dict[str, Any]) -> dict[str, Any]:
    """The schema in OpenAI's wrapping, without it, or beside `type`. None given: any object."""
    inner = response_format.get("json_schema")
    if inner is None:
        schema = response_format.get("schema")
        if schema is None:
            param = f"{_PARAM}.json_schema"
            raise bad_request(f"{param}: this field is required", param)
        return _object(schema, f"{_PARAM}.schema")
    wrapped = _object(inner, f"{_PARAM}.json_schema")
    if wrapped.get("schema") is not None:
        return _object(wrapped["schema"], f"{_PARAM}.json_schema.schema")
    return _ANY_OBJECT if wrapped.keys() <= {*_LABELS, "schema"} else wrapped


def _object(value: Any, param: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise bad_request(f"{param}: expected object, got {type(value).__name__}", param)
    return value
