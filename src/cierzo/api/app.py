"""The HTTP app: its routes, and what it answers where there is none."""

from __future__ import annotations

import http
import re

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from cierzo.api import health, openapi
from cierzo.api.dialect import Dialect, dialect_of
from cierzo.api.errors import ApiError
from cierzo.api.http.edge import Edge
from cierzo.api.http.paths import Paths, Route
from cierzo.api.http.sse import error_response
from cierzo.api.openai import chat, completions, models, tokens
from cierzo.api.openai.dialect import OPENAI, OPENROUTER
from cierzo.api.state import Service

# All that are spoken; the first answers where nobody's path is asked for.
DIALECTS: tuple[Dialect, ...] = (OPENAI, OPENROUTER)


def create_app(service: Service) -> ASGIApp:
    """The whole app, with the edge's limits around it.

    Only the routes below exist. There are no pages of documentation (they would load scripts
    from elsewhere), no redirects, and no CORS headers: pages of other sites cannot read answers.
    """
    app = FastAPI(
        title="Cierzo",
        summary="One language model, behind the API of OpenAI and OpenRouter",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    about = re.compile(r"/openapi\.json$")
    routes = [Route(app.openapi_url or "", about, frozenset({"GET"}), OPENAI)]
    for part in (chat, completions, models, tokens, health):
        router = part.router(service)
        routes += [_route_of(route) for route in router.routes if isinstance(route, APIRoute)]
        app.include_router(router)
    paths = Paths(routes, DIALECTS)
    openapi.install(app)

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        return error_response(error, request.scope)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        path = request.url.path
        if error.status_code == 404:
            advice = paths.advice(request.method, path, dialect_of(request.scope))
            return error_response(ApiError(404, advice, code="no_such_route"), request.scope)
        words = http.HTTPStatus(error.status_code).phrase.lower()
        where = f"{request.method} {path}"[:200]
        response = error_response(ApiError(error.status_code, f"{where}: {words}"), request.scope)
        for name, value in (error.headers or {}).items():
            # Whoever may GET may ask for the head alone.
            response.headers[name] = "GET, HEAD" if value == "GET" else value
        return response

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        message = "the server has made a mistake; its log says more"
        wrong = ApiError(500, message, kind="server_error", code="internal_error", final=True)
        return error_response(wrong, request.scope)

    settings = service.settings
    return Edge(app, paths, settings.limits, settings.server, service.metrics.mark_response)


def _route_of(route: APIRoute) -> Route:
    owners = [dialect for dialect in DIALECTS if route.path.startswith(f"{dialect.prefix}/")]
    dialect = owners[0] if owners else DIALECTS[0]
    return Route(route.path, route.path_regex, frozenset(route.methods or ()), dialect)
