"""Whose a request is. The edge knows it by the key; what is kept for one is not shown to others."""

from __future__ import annotations

from starlette.types import Scope

from cierzo.api.access.keys import tenant_of
from cierzo.settings import ServerSettings

_KEY = "cierzo.tenant"


def owned(scope: Scope, tenant: str) -> Scope:
    """The scope of a request of this tenant; empty where no key is asked for."""
    return {**scope, _KEY: tenant}


def cache_salt_of(scope: Scope, server: ServerSettings) -> str:
    """Requests of the same salt find in the cache what each other computed."""
    tenant: str = scope[_KEY]
    return tenant if server.cache_sharing == "key" else ""


def cache_salts(server: ServerSettings) -> tuple[str, ...]:
    """All that requests can have."""
    if server.cache_sharing == "all" or not server.api_keys:
        return ("",)
    return tuple(tenant_of(key.encode()) for key in server.api_keys)
