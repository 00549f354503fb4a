"""What one API's clients expect of every answer; a route has one, and so has every path."""

from __future__ import annotations

from typing import Protocol, cast

from starlette.types import Scope

from cierzo.api.errors import ApiError

_KEY = "cierzo.dialect"


class Dialect(Protocol):
    """One API's way to say what went wrong. Routes of the API know more of it than this."""

    @property
    def prefix(self) -> str:
        """What its paths begin with, such as /v1."""

    @property
    def error_type(self) -> type:
        """The type that `error_body` writes as JSON."""

    def error_body(self, error: ApiError) -> bytes:
        """The JSON of an answer that is an error."""


def spoken(scope: Scope, dialect: Dialect) -> Scope:
    """The scope of a request in this dialect."""
    return {**scope, _KEY: dialect}


def dialect_of(scope: Scope) -> Dialect:
    """The dialect in which a request is to be answered."""
    return cast(Dialect, scope[_KEY])
