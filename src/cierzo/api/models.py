"""`GET /models`: the truth about what is served."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from cierzo.api.errors import ApiError
from cierzo.api.openapi import documented
from cierzo.api.schemas.models import Model, ModelList
from cierzo.api.service import Service
from cierzo.api.sse import json_response
from cierzo.engine.errors import EngineError


def router(service: Service) -> APIRouter:
    """The routes, under the paths of OpenAI and of OpenRouter."""
    routes = APIRouter(tags=["models"])

    def models() -> list[Model]:
        try:
            length = service.client.info.max_model_len
        except EngineError:
            length = None
        return [
            Model(
                id=name,
                created=service.created,
                root=service.names[0],
                max_model_len=length,
                context_length=length,
            )
            for name in service.names
        ]

    async def list_models() -> Response:
        """The names of the model that is served."""
        return json_response(ModelList(models()))

    async def get_model(request: Request) -> Response:
        """One of the names."""
        name = request.path_params["name"]
        for model in models():
            if model.id == name:
                return json_response(model)
        message = f"The model `{name[:200]}` does not exist"
        raise ApiError(404, message, param="model", code="model_not_found")

    for path in ("/v1/models", "/api/v1/models"):
        routes.add_api_route(path, list_models, methods=["GET"], **documented(None, ModelList))
    routes.add_api_route(
        "/v1/models/{name:path}", get_model, methods=["GET"], **documented(None, Model)
    )
    return routes
