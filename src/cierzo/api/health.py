"""`GET /`, `GET /health`, `GET /metrics`: that there is a server, and how it is."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from cierzo.api.http.sse import json_response
from cierzo.api.operations import Operation
from cierzo.api.service import Service
from cierzo.api.state import State

_WELCOME = (
    "Cierzo is running. Its API is under /v1, described at /openapi.json; see also /health.\n"
)


class Health(msgspec.Struct, frozen=True):
    """How the server is. Only "ready" comes with status 200."""

    status: State
    detail: str  # one line: what is being loaded, or what went wrong
    since: float  # Unix time at which this state began
    model: str


def operations(service: Service) -> list[Operation]:
    """The routes. They need no key, and tell nothing about anyone's requests."""

    async def root(request: Request) -> Response:
        """Says what this is. Some agents ask for its head before anything else."""
        return PlainTextResponse(_WELCOME)

    async def health(request: Request) -> Response:
        """200 when requests are answered; 503 with the state when not."""
        status = service.status
        name = service.served.name
        response = json_response(Health(status.state, status.detail, status.since, name))
        response.status_code = 200 if status.state is State.READY else 503
        return response

    async def metrics(request: Request) -> Response:
        """Prometheus' text format."""
        return Response(service.metrics.render(), media_type=service.metrics.content_type)

    return [
        Operation("GET", "/", root, "operation", described=False),
        Operation("GET", "/health", health, "operation", response=Health),
        Operation("GET", "/metrics", metrics, "operation"),
    ]
