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
from cierzo.api.errors import ApiError
from cierzo.api.http.edge import Edge
from cierzo.api.http.paths import Paths, Route
from cierzo.api.http.sse import error_response
from cierzo.api.openai import chat as chat_completions
from cierzo.api.openai import completions, models
from cierzo.api.openai import tokens as tokenize
from cierzo.api.state import Service


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
    routes = [Route(app.openapi_url or "", re.compile("/openapi.json$"), frozenset({"GET"}))]
    for part in (chat_completions, completions, models, tokenize, health):
        router = part.router(service)
        routes += [_route_of(route) for route in router.routes if isinstance(route, APIRoute)]
        app.include_router(router)
    paths = Paths(routes)
    openapi.install(app)

    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        return error_response(error, request.url.path)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        path = request.url.path
        if error.status_code == 404:
            missing = ApiError(404, paths.advice(request.method, path), code="no_such_route")
            return error_response(missing, path)
        words = http.HTTPStatus(error.status_code).phrase.lower()
        where = f"{request.method} {path}"[:200]
        response = error_response(ApiError(error.status_code, f"{where}: {words}"), path)
        for name, value in (error.headers or {}).items():
            # Whoever may GET may ask for the head alone.
            response.headers[name] = "GET, HEAD" if value == "GET" else value
        return response

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> Response:
        message = "the server has made a mistake; its log says more"
        wrong = ApiError(500, message, kind="server_error", code="internal_error", final=True)
        return error_response(wrong, request.url.path)

    settings = service.settings
    return Edge(app, paths, settings.limits, settings.server, service.metrics.mark_response)


def _route_of(route: APIRoute) -> Route:
    return Route(route.path, route.path_regex, frozenset(route.methods or ()))
