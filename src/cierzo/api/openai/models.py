"""`GET /models`: the truth about what is served."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cierzo.api.errors import ApiError
from cierzo.api.http.sse import json_response
from cierzo.api.openai.dialect import OPENAI, OPENROUTER
from cierzo.api.openai.sampling import PARAMETERS
from cierzo.api.openai.wire.models import (
    Architecture,
    DefaultParameters,
    Endpoint,
    EndpointList,
    Endpoints,
    Links,
    Model,
    ModelList,
    Pricing,
    TopProvider,
)
from cierzo.api.operations import Operation
from cierzo.api.served_model import PROVIDER
from cierzo.api.service import Service
from cierzo.engine.errors import EngineError
from cierzo.engine.sampling_params import SamplingParams
from cierzo.generate.model import Language

# In OpenRouter's words: it has none for these.
_UNNAMED = ("min_tokens", "stop_token_ids", "ignore_eos")
SUPPORTED_PARAMETERS = (
    *(name for name in PARAMETERS if name not in _UNNAMED),
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "logprobs",
    "top_logprobs",
    "response_format",
    "structured_outputs",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
)


def operations(service: Service) -> list[Operation]:
    """The routes, under the paths of OpenAI and of OpenRouter."""

    async def list_models(request: Request) -> Response:
        """The names of the model that is served."""
        models = [_model(service, name) for name in service.served.names]
        return json_response(ModelList(data=models, total_count=len(models)))

    async def get_model(request: Request) -> Response:
        """One of the names."""
        return json_response(_model(service, _served(service, request.path_params["name"])))

    async def get_endpoints(request: Request) -> Response:
        """Where a model is served: here."""
        parts = request.path_params
        name = "/".join(parts[part] for part in ("author", "slug") if part in parts)
        return json_response(Endpoints(_endpoints(service, _served(service, name))))

    lists = [
        Operation(
            "GET",
            f"{dialect.prefix}/models",
            list_models,
            "models",
            response=ModelList,
            dialect=dialect,
        )
        for dialect in (OPENAI, OPENROUTER)
    ]
    places = [
        Operation(
            "GET",
            f"{OPENROUTER.prefix}/models/{names}/endpoints",
            get_endpoints,
            "models",
            response=Endpoints,
            dialect=OPENROUTER,
        )
        for names in ("{author}/{slug}", "{slug}")
    ]
    one = Operation(
        "GET",
        f"{OPENAI.prefix}/models/{{name:path}}",
        get_model,
        "models",
        response=Model,
        dialect=OPENAI,
    )
    return [*lists, *places, one]


def _served(service: Service, name: str) -> str:
    """The name, if it is served."""
    ours = service.served.known_as(name)
    if ours is not None:
        return ours
    message = f"The model `{name[:200]}` does not exist"
    raise ApiError(404, message, param="model", code="model_not_found")


def _model(service: Service, name: str) -> Model:
    served = service.served
    length = _context_length(service)
    return Model(
        id=name,
        created=service.created,
        root=served.name,
        max_model_len=length,
        context_length=length,
        canonical_slug=served.name,
        hugging_face_id=served.entry.hub.repo if served.entry.hub else None,
        name=served.name,
        description=served.entry.description,
        quantization=served.quantization,
        architecture=_architecture(service.language),
        pricing=_pricing(service),
        top_provider=TopProvider(context_length=length, max_completion_tokens=_less(length)),
        supported_parameters=SUPPORTED_PARAMETERS,
        default_parameters=_defaults(service),
        links=Links(f"/api/v1/models/{name}/endpoints"),
    )


def _endpoints(service: Service, name: str) -> EndpointList:
    served = service.served
    length = _context_length(service)
    endpoints = []
    if length is not None:  # until it is loaded, it is served nowhere
        endpoints.append(
            Endpoint(
                name=f"{PROVIDER} | {served.name}",
                model_id=name,
                model_name=served.name,
                provider_name=PROVIDER,
                tag=f"{PROVIDER.lower()}/{served.quantization}",
                context_length=length,
                max_prompt_tokens=_less(length),
                max_completion_tokens=_less(length),
                quantization=served.quantization,
                pricing=_pricing(service),
                supported_parameters=SUPPORTED_PARAMETERS,
                supports_implicit_caching=service.settings.engine.prefix_cache == "on",
            )
        )
    return EndpointList(
        id=name,
        name=served.name,
        created=service.created,
        description=served.entry.description,
        architecture=_architecture(service.language),
        endpoints=endpoints,
    )


def _context_length(service: Service) -> int | None:
    try:
        return service.client.info.max_model_len
    except EngineError:
        return None


def _less(length: int | None) -> int | None:
    """What prompt and answer may have each: the other has a token at least."""
    return None if length is None else length - 1


def _architecture(language: Language | None) -> Architecture:
    tokens = language.tokenizer.control_tokens if language is not None else {}
    if "[INST]" in tokens:
        return Architecture(tokenizer="Mistral", instruct_type="mistral")
    if "<|im_start|>" in tokens:
        return Architecture(tokenizer="Other", instruct_type="chatml")
    return Architecture(tokenizer="Other", instruct_type=None)


def _pricing(service: Service) -> Pricing:
    entry = service.served.entry
    return Pricing(_decimal(entry.prompt_price), _decimal(entry.completion_price))


def _decimal(price: float) -> str:
    """A price as digits, without an exponent."""
    return f"{price:.12f}".rstrip("0").rstrip(".")


def _defaults(service: Service) -> DefaultParameters:
    params = msgspec.convert(dict(service.served.entry.sampling), SamplingParams)
    names = DefaultParameters.__struct_fields__
    return DefaultParameters(**{name: getattr(params, name) for name in names})
