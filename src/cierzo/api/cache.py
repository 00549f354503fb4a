"""`DELETE /v1/cache`: forgets what is cached of the prompts of whoever asks."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cierzo.api.access.tenant import cache_salt_of
from cierzo.api.errors import unavailable
from cierzo.api.http.sse import json_response
from cierzo.api.operations import Operation
from cierzo.api.service import Service
from cierzo.engine.errors import EngineError


class CacheDeleted(msgspec.Struct, frozen=True):
    """What was forgotten."""

    deleted_tokens: int  # a block's worth each, the last of a prompt too
    object: str = "cache.deleted"


def operations(service: Service) -> list[Operation]:
    """The route."""

    async def delete_cache(request: Request) -> Response:
        """Forgets what is cached of prompts and answers, but for what running requests need."""
        model = service.model()
        salt = cache_salt_of(request.scope, service.settings.server)
        model.language.recent.forget(salt)
        try:
            service.reuse.recent.forget(salt)
            return json_response(CacheDeleted(await service.client.clear_cache(salt)))
        except EngineError as error:
            raise unavailable(str(error), "engine_unavailable") from error

    return [Operation("DELETE", "/v1/cache", delete_cache, "operation", response=CacheDeleted)]
