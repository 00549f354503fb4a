"""The app's OpenAPI document, from its operations and the classes of their messages."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from cierzo import __version__
from cierzo.api.dialect import Dialect
from cierzo.api.operations import Operation

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


def document(operations: Iterable[Operation], default: Dialect) -> dict[str, Any]:
    """The document. Errors have the form of each operation's dialect."""
    paths: dict[str, dict[str, Any]] = {}
    kinds: set[type] = {default.error_type}
    for operation in operations:
        if not operation.described:
            continue
        error = (operation.dialect or default).error_type
        kinds.update(
            kind
            for kind in (operation.request, operation.response, operation.stream, error)
            if kind is not None
        )
        methods = paths.setdefault(operation.route.path_format, {})
        methods[operation.method.lower()] = _described(operation, error)
    by_name = sorted(kinds, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(by_name, ref_template=_REFS)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Cierzo",
            "summary": "One language model, behind the API of OpenAI and OpenRouter",
            "version": str(__version__),
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"bearer": []}],
    }


def _described(operation: Operation, error: type) -> dict[str, Any]:
    name = operation.handler.__name__
    path = operation.route.path_format
    content = {}
    if operation.response is not None:
        content["application/json"] = {"schema": _ref(operation.response)}
    if operation.stream is not None:
        content["text/event-stream"] = {"schema": _event_of(operation.stream)}
    answers: dict[str, Any] = {"200": {"description": "The answer", "content": content}}
    if operation.response is not None:
        told = {"application/json": {"schema": _ref(error)}}
        answers |= {str(s): {"description": t, "content": told} for s, t in _ERRORS.items()}
    described: dict[str, Any] = {
        "tags": [operation.tag],
        "summary": name.replace("_", " ").title(),
        "description": inspect.getdoc(operation.handler),
        "operationId": re.sub(r"\W", "_", f"{name}{path}") + f"_{operation.method.lower()}",
        "responses": answers,
    }
    if operation.route.param_convertors:
        described["parameters"] = [
            {"name": part, "in": "path", "required": True, "schema": {"type": "string"}}
            for part in operation.route.param_convertors
        ]
    if operation.request is not None:
        body = {"application/json": {"schema": _ref(operation.request)}}
        described["requestBody"] = {"required": True, "content": body}
    return described


def _event_of(kind: type) -> dict[str, Any]:
    """A server-sent event whose data is JSON, or [DONE] at the end."""
    json = {"contentMediaType": "application/json", "contentSchema": _ref(kind)}
    data = {"anyOf": [{"const": "[DONE]"}, {"type": "string", **json}]}
    return {"type": "object", "properties": {"data": data}, "required": ["data"]}


def _ref(kind: type) -> dict[str, str]:
    return {"$ref": _REFS.format(name=kind.__name__)}
