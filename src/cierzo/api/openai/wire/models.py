"""Answers of `/models` and `/health`."""

from __future__ import annotations

from typing import Literal

import msgspec


class Pricing(msgspec.Struct, frozen=True):
    """US dollars a token, as text."""

    prompt: str
    completion: str
    request: str = "0"
    image: str = "0"


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """What goes in and out, and in whose form."""

    modality: str = "text->text"
    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    tokenizer: str  # the family, in OpenRouter's words
    instruct_type: str | None  # the form of the prompt, in OpenRouter's words


class TopProvider(msgspec.Struct, frozen=True, kw_only=True):
    """The only provider."""

    context_length: int | None
    max_completion_tokens: int | None
    is_moderated: bool = False


class DefaultParameters(msgspec.Struct, frozen=True, kw_only=True):
    """What holds where a request says nothing."""

    temperature: float | None
    top_p: float | None
    top_k: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repetition_penalty: float | None


class Links(msgspec.Struct, frozen=True):
    """Where there is more."""

    details: str


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A name that requests may use. Sizes are null until the model is loaded."""

    id: str
    object: Literal["model"] = "model"
    created: int  # Unix time at which the server was started
    owned_by: str = "cierzo"
    root: str  # the name that answers carry
    max_model_len: int | None  # tokens of prompt and answer together
    context_length: int | None  # the same, under OpenRouter's name
    canonical_slug: str
    hugging_face_id: str | None
    name: str
    description: str
    quantization: str  # of most weights
    architecture: Architecture
    pricing: Pricing
    top_provider: TopProvider
    per_request_limits: None = None
    supported_parameters: tuple[str, ...]
    supported_voices: None = None
    default_parameters: DefaultParameters
    links: Links


class ListLinks(msgspec.Struct, frozen=True):
    """There is one page."""

    next: None = None


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """What is served."""

    object: Literal["list"] = "list"
    data: list[Model]
    total_count: int
    links: ListLinks = ListLinks()


class ToolChoices(msgspec.Struct, frozen=True):
    """Which forms of `tool_choice` are honoured."""

    none: bool = True
    auto: bool = True
    required: bool = True
    function: bool = True


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How the model is served: here, in one way. What is not measured is null."""

    name: str
    model_id: str
    model_name: str
    provider_name: str
    tag: str
    status: int = 0
    context_length: int
    max_prompt_tokens: int | None
    max_completion_tokens: int | None
    quantization: str
    pricing: Pricing
    supported_parameters: tuple[str, ...]
    supports_implicit_caching: bool
    supports_tool_choice: ToolChoices = ToolChoices()
    supports_diarization: bool = False  # of speech
    native_tools: dict[str, str] = {}  # that run on the server: none
    service_tier: None = None  # the standard one
    uptime_last_5m: None = None
    uptime_last_30m: None = None
    uptime_last_1d: None = None
    latency_last_30m: None = None
    throughput_last_30m: None = None


class EndpointList(msgspec.Struct, frozen=True, kw_only=True):
    """A model and where it is served."""

    id: str
    name: str
    created: int
    description: str
    architecture: Architecture
    endpoints: list[Endpoint]


class Endpoints(msgspec.Struct, frozen=True):
    """OpenRouter's wrapping."""

    data: EndpointList
