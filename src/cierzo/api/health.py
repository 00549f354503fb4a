"""`GET /`, `GET /health`, `GET /metrics`: that there is a server, and how it is."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from cierzo.api.http.sse import json_response
from cierzo.api.openai.wire.models import Health
from cierzo.api.openapi import documented
from cierzo.api.state import Service

_WELCOME = (
    "Cierzo is running. Its API is under /v1, described at /openapi.json; see also /health.\n"
)


def health_of(service: Service) -> Health:
    """The state of the server: that of its engine, unless the server itself is behind or ending."""
    status = service.client.status
    state, detail = status.state, status.detail
    if service.stopping or state == "stopped":
        return Health("stopping", "the server is shutting down", status.since, service.served.name)
    if state == "ready" and service.language is None:
        return Health("loading", "reading the tokenizer", status.since, service.served.name)
    return Health(state, detail, status.since, service.served.name)


def router(service: Service) -> APIRouter:
    """The routes. They need no key, and tell nothing about anyone's requests."""
    routes = APIRouter(tags=["operation"])

    async def root() -> Response:
        """Says what this is. Some agents ask for its head before anything else."""
        return PlainTextResponse(_WELCOME)

    async def health() -> Response:
        """200 when requests are answered; 503 with the state when not."""
        told = health_of(service)
        response = json_response(told)
        response.status_code = 200 if told.status == "ready" else 503
        return response

    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(service.metrics.render(), media_type=service.metrics.content_type)

    routes.add_api_route("/", root, methods=["GET"], include_in_schema=False)
    routes.add_api_route("/health", health, methods=["GET"], **documented(None, Health))
    routes.add_api_route("/metrics", metrics, methods=["GET"], response_class=Response)
    return routes
