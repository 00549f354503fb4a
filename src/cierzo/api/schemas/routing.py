"""What OpenRouter's requests say of models, providers and plugins, to a server that has one model.

A preference that could not change the answer is accepted; one that rules this server out, or asks
for what it does not do, is refused. Nothing is passed over in silence.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from cierzo.api.errors import ApiError, bad_request, unsupported
from cierzo.api.schemas import common
from cierzo.api.served import PROVIDER, ServedModel

ServiceTier: TypeAlias = Literal["auto", "default", "fast", "flex", "priority", "scale"]
SortOrder: TypeAlias = Literal["price", "throughput", "latency", "exacto"]
Price: TypeAlias = str | float

_METADATA = (16, 64, 512)  # OpenAI's bounds: pairs, characters of a key, of a value
# Plugins that change nothing here: a router has one model to choose, a file parser no file (file
# parts are refused), healing nothing to heal. Compression is for prompts that do not fit: those
# are refused with the sizes, never cut.
_HARMLESS_PLUGINS = {
    "auto-router",
    "auto-beta-router",
    "pareto-router",
    "file-parser",
    "response-healing",
    "context-compression",
}
_TRANSFORMS = ("middle-out",)  # the same compression under its older name


class SortBy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to order providers."""

    by: SortOrder | None = None
    partition: Literal["model", "none"] | None = None


class MaxPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The most to pay, in US dollars a million tokens, or for a request or an image."""

    prompt: Price | None = None
    completion: Price | None = None
    request: Price | None = None
    image: Price | None = None
    audio: Price | None = None


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which providers may answer. This server is the provider "Cierzo", and the only one."""

    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None  # what is not supported is refused anyway
    data_collection: Literal["allow", "deny"] | None = None  # none is collected
    zdr: bool | None = None  # nothing is kept but the cache of the running engine
    enforce_distillable_text: bool | None = None
    order: list[str] | None = None
    only: list[str] | None = None
    ignore: list[str] | None = None
    quantizations: list[str] | None = None
    sort: SortOrder | SortBy | None = None
    max_price: MaxPrice | None = None
    preferred_max_latency: Any = None  # preferences rule nobody out
    preferred_min_throughput: Any = None


class Plugin(msgspec.Struct, frozen=True):
    """Something done to a request or an answer on the way. Its own settings are not looked at."""

    id: str
    enabled: bool | None = None


class RoutedRequest(common.SamplingRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a request says besides its prompt and how to sample."""

    model: str | None = None
    models: list[str] | None = None  # in the order in which to try them
    route: Literal["fallback", "sort"] | None = None
    provider: Provider | None = None
    plugins: list[Plugin] | None = None
    transforms: list[str] | None = None
    service_tier: ServiceTier | None = None  # the answer says "default"
    # The rest names or groups requests and changes nothing in the answer.
    user: str | None = None
    metadata: dict[str, str] | None = None
    session_id: Annotated[str, Meta(max_length=256)] | None = None
    safety_identifier: str | None = None
    trace: dict[str, Any] | None = None
    prompt_cache_key: str | None = None  # all that is sent again is found in the cache
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    cache_control: dict[str, Any] | None = None


def check_routing(request: RoutedRequest, served: ServedModel, path: str) -> None:
    """Raises ApiError for what this server's one model cannot honour."""
    served.check_asked(request.model, request.models, path)
    _check_metadata(request.metadata)
    if request.provider is not None:
        _check_provider(request.provider, served)
    for index, plugin in enumerate(request.plugins or ()):
        if plugin.enabled is not False and plugin.id not in _HARMLESS_PLUGINS:
            why = f"there is no plugin {plugin.id[:40]!r} here; leave it out"
            raise unsupported(f"plugins[{index}]", why)
    for index, transform in enumerate(request.transforms or ()):
        if transform not in _TRANSFORMS:
            why = f"{transform[:40]!r} is not done here; only {_TRANSFORMS[0]!r} is known"
            raise unsupported(f"transforms[{index}]", why)


def _check_metadata(metadata: dict[str, str] | None) -> None:
    pairs, key_chars, value_chars = _METADATA
    common.check_length("metadata", metadata, pairs)
    for key, value in (metadata or {}).items():
        if len(key) > key_chars or len(value) > value_chars:
            message = f"metadata: keys have at most {key_chars}, values {value_chars} characters"
            raise bad_request(message, "metadata")


def _check_provider(provider: Provider, served: ServedModel) -> None:
    ours = PROVIDER.lower()

    def listed(names: list[str] | None) -> bool:
        return ours in [name.partition("/")[0].lower() for name in names or ()]

    if provider.only and not listed(provider.only):
        raise _ruled_out("provider.only", f"the only provider here is {PROVIDER}")
    if listed(provider.ignore):
        raise _ruled_out("provider.ignore", f"{PROVIDER} is the only provider here")
    if provider.order and provider.allow_fallbacks is False and not listed(provider.order):
        raise _ruled_out("provider.order", f"without fallbacks, it must name {PROVIDER}")
    wanted = [name.lower() for name in provider.quantizations or ()]
    if wanted and served.quantization not in wanted:
        raise _ruled_out("provider.quantizations", f"the weights here are {served.quantization}")
    if provider.enforce_distillable_text and not served.is_open:
        raise _ruled_out("provider.enforce_distillable_text", "the model's licence is not known")
    most = provider.max_price or MaxPrice()
    for name, price, limit in (
        ("prompt", served.entry.prompt_price, most.prompt),
        ("completion", served.entry.completion_price, most.completion),
    ):
        if limit is not None and price * 1e6 > _dollars(f"provider.max_price.{name}", limit):
            raise _ruled_out(f"provider.max_price.{name}", f"the price is {price * 1e6:g}")


def _dollars(param: str, price: Price) -> float:
    try:
        return float(price)
    except ValueError:
        raise bad_request(f"{param}: {str(price)[:40]!r} is not a number", param) from None


def _ruled_out(param: str, why: str) -> ApiError:
    """OpenRouter's answer when no provider is left."""
    message = f"No endpoints found that match this request: {param}: {why}"
    return ApiError(404, message, param=param, code="no_endpoints_found")
