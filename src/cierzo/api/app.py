"""The HTTP app: its routes, and what it answers where there is none."""

from __future__ import annotations

import http
from functools import cache

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from cierzo.api import cache as prefix_cache
from cierzo.api import health
from cierzo.api.dialect import Dialect, dialect_of
from cierzo.api.errors import ApiError
from cierzo.api.http.edge import Edge
from cierzo.api.http.paths import Path, Paths
from cierzo.api.http.sse import error_response, json_response
from cierzo.api.openai import chat, completions, models, tokens
from cierzo.api.openai.dialect import OPENAI, OPENROUTER
from cierzo.api.openapi import document
from cierzo.api.operations import Operation
from cierzo.api.service import Service

# All that are spoken; the first answers where nobody's path is asked for.
DIALECTS: tuple[Dialect, ...] = (OPENAI, OPENROUTER)


def create_app(service: Service) -> ASGIApp:
    """The whole app, with the edge's limits around it.

    Only the operations below exist. There are no pages of documentation (they would load scripts
    from elsewhere), no redirects, and no CORS headers: pages of other sites cannot read answers.
    """
    operations = [
        operation
        for part in (chat, completions, models, tokens, prefix_cache, health)
        for operation in part.operations(service)
    ]
    operations.append(_about(operations))
    paths = Paths([_path_of(operation) for operation in operations], DIALECTS)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error_response(error, request.scope)

    async def no_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        if error.status_code == 404:
            advice = paths.advice(request.method, path, dialect_of(request.scope))
            return error_response(ApiError(404, advice, code="no_such_route"), request.scope)
        words = http.HTTPStatus(error.status_code).phrase.lower()
        where = f"{request.method} {path}"[:200]
        response = error_response(ApiError(error.status_code, f"{where}: {words}"), request.scope)
        for name, value in (error.headers or {}).items():
            # Whoever may GET may ask for the head alone.
            response.headers[name] = "GET, HEAD" if "GET" in value else value
        return response

    async def defect(request: Request, error: Exception) -> Response:
        message = "the server has made a mistake; its log says more"
        wrong = ApiError(500, message, kind="server_error", code="internal_error", final=True)
        return error_response(wrong, request.scope)

    app = Starlette(
        routes=[operation.route for operation in operations],
        exception_handlers={ApiError: refused, HTTPException: no_route, Exception: defect},
    )
    app.router.redirect_slashes = False
    settings = service.settings
    return Edge(app, paths, settings.limits, settings.server, service.request_log)


def _about(operations: list[Operation]) -> Operation:
    """The description of the others."""
    described = list(operations)
    whole = cache(lambda: document(described, DIALECTS[0]))

    async def openapi(request: Request) -> Response:
        return json_response(whole())

    return Operation("GET", "/openapi.json", openapi, "operation", described=False)


def _path_of(operation: Operation) -> Path:
    route = operation.route
    return Path(route.path, route.path_regex, operation.method, operation.dialect or DIALECTS[0])
