"""The app's OpenAPI: what routes declare about bodies and answers, from the message classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import FastAPI

from cierzo import __version__
from cierzo.api.openai.errors import ErrorBody

_REFS = "#/components/schemas/{name}"
_ERRORS = {
    400: "Something in the request is wrong; `param` names it",
    401: "An API key is needed",
    403: "The Host is not served here",
    404: "There is no such model or route",
    408: "The request took too long to arrive",
    413: "The body is too large",
    415: "The body is not declared as JSON",
    422: "No answer was found that has the form which is asked for",
    429: "The queue is full; see Retry-After",
    431: "The head is too large",
    500: "A defect of the server",
    502: "The engine failed while it answered; another one is being started",
    503: "The model is loading, its engine is gone, or the server is ending",
}
_documented: set[type] = {ErrorBody}


def documented(
    request: type | None,
    response: type,
    stream: type | None = None,
    *,
    path_names: Sequence[str] = (),
) -> dict[str, Any]:
    """Arguments of `add_api_route` that say what goes in and comes out.

    `path_names` are the parts of the path that stand for something.
    """
    _documented.update(kind for kind in (request, response, stream) if kind is not None)
    content = {"application/json": {"schema": _ref(response)}}
    if stream is not None:
        content["text/event-stream"] = {"schema": _event_of(stream)}
    responses: dict[str, Any] = {"200": {"description": "The answer", "content": content}}
    for status, text in _ERRORS.items():
        error = {"application/json": {"schema": _ref(ErrorBody)}}
        responses[str(status)] = {"description": text, "content": error}
    extra: dict[str, Any] = {"responses": responses}
    if path_names:
        extra["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in path_names
        ]
    if request is not None:
        body = {"application/json": {"schema": _ref(request)}}
        extra["requestBody"] = {"required": True, "content": body}
    return {"response_model": None, "openapi_extra": extra}


def install(app: FastAPI) -> None:
    """Adds the classes that routes refer to, and the two ways of sending a key."""
    original = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = original()
            kinds = sorted(_documented, key=lambda kind: kind.__name__)
            _, schemas = msgspec.json.schema_components(kinds, ref_template=_REFS)
            components = document.setdefault("components", {})
            components["schemas"] = components.get("schemas", {}) | schemas
            components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{}, {"bearer": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]  # FastAPI's documented way
    app.version = str(__version__)


def _event_of(kind: type) -> dict[str, Any]:
    """A server-sent event whose data is JSON, or [DONE] at the end."""
    json = {"contentMediaType": "application/json", "contentSchema": _ref(kind)}
    data = {"anyOf": [{"const": "[DONE]"}, {"type": "string", **json}]}
    return {"type": "object", "properties": {"data": data}, "required": ["data"]}


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": _REFS.format(name=kind.__name__)}
