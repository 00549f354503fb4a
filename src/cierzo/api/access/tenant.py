"""Whose a request is. The edge knows it by the key; what is kept for one is not shown to others."""

from __future__ import annotations

from starlette.types import Scope

from cierzo.settings import ServerSettings

_KEY = "cierzo.tenant"


def owned(scope: Scope, tenant: str) -> Scope:
    """The scope of a request of this tenant; empty where no key is asked for."""
    return {**scope, _KEY: tenant}


def cache_salt_of(scope: Scope, server: ServerSettings) -> str:
    """Requests of the same salt find in the cache what each other computed."""
    tenant: str = scope[_KEY]
    return tenant if server.cache_sharing == "key" else ""
