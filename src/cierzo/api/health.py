"""`GET /`, `GET /health`, `GET /metrics`: that there is a server, and how it is."""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from cierzo.api.http.sse import json_response
from cierzo.api.operations import Operation
from cierzo.api.state import Service

_WELCOME = (
    "Cierzo is running. Its API is under /v1, described at /openapi.json; see also /health.\n"
)


class Health(msgspec.Struct, frozen=True):
    """How the server is. Only "ready" comes with status 200."""

    status: Literal["ready", "loading", "restarting", "dead", "stopping"]
    detail: str  # one line: what is being loaded, or what went wrong
    since: float  # Unix time at which this state began
    model: str


def health_of(service: Service) -> Health:
    """The state of the server: that of its engine, unless the server itself is behind or ending."""
    status = service.client.status
    state, detail = status.state, status.detail
    if service.stopping or state == "stopped":
        return Health("stopping", "the server is shutting down", status.since, service.served.name)
    if state == "ready" and service.language is None:
        return Health("loading", "reading the tokenizer", status.since, service.served.name)
    return Health(state, detail, status.since, service.served.name)


def operations(service: Service) -> list[Operation]:
    """The routes. They need no key, and tell nothing about anyone's requests."""

    async def root(request: Request) -> Response:
        """Says what this is. Some agents ask for its head before anything else."""
        return PlainTextResponse(_WELCOME)

    async def health(request: Request) -> Response:
        """200 when requests are answered; 503 with the state when not."""
        told = health_of(service)
        response = json_response(told)
        response.status_code = 200 if told.status == "ready" else 503
        return response

    async def metrics(request: Request) -> Response:
        """Prometheus' text format."""
        return Response(service.metrics.render(), media_type=service.metrics.content_type)

    return [
        Operation("GET", "/", root, "operation", described=False),
        Operation("GET", "/health", health, "operation", response=Health),
        Operation("GET", "/metrics", metrics, "operation"),
    ]
