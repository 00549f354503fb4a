"""Routes as data: the app, the table of paths and the OpenAPI document are made of these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cierzo.api.dialect import Dialect

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Operation:
    """One route. The handler's docstring describes it; the types are those of the JSON."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handler: Handler
    tag: str
    request: type | None = None
    response: type | None = None
    stream: type | None = None  # of the data of each event, where the answer may be a stream
    dialect: Dialect | None = None  # None: the app's first
    described: bool = True  # in the OpenAPI document

    @cached_property
    def route(self) -> Route:
        """As Starlette has it."""
        return Route(self.path, self.handler, methods=[self.method])
