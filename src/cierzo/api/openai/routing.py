"""What OpenRouter's requests say of models, providers and plugins, to a server that has one model.

A preference that could not change the answer is accepted in any form; one that rules this server
out, or asks for what it does not do, is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from cierzo.api.errors import ApiError, bad_request, unsupported
from cierzo.api.openai.dialect import OpenAiDialect
from cierzo.api.openai.wire.routing import MaxPrice, Price, Provider, RoutedRequest
from cierzo.api.served_model import PROVIDER, ServedModel

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


def check_routing(request: RoutedRequest, served: ServedModel, dialect: OpenAiDialect) -> None:
    """Raises ApiError for what this server's one model cannot honour."""
    check_model(request.model, _listed(request.models), served, dialect)
    if isinstance(request.provider, Provider):
        _check_provider(request.provider, served)
    for index, plugin in enumerate(request.plugins or ()):
        if plugin.enabled is not False and plugin.id not in _HARMLESS_PLUGINS:
            why = f"there is no plugin {plugin.id[:40]!r} here; leave it out"
            raise unsupported(f"plugins[{index}]", why)
    for index, transform in enumerate(_listed(request.transforms)):
        if transform not in _TRANSFORMS:
            why = f"{transform[:40]!r} is not done here; only {_TRANSFORMS[0]!r} is known"
            raise unsupported(f"transforms[{index}]", why)


def may_retain(request: RoutedRequest) -> bool:
    """Whether what is computed for a request may be left for later ones: OpenRouter's `zdr`."""
    zdr = request.provider.zdr if isinstance(request.provider, Provider) else UNSET
    return zdr is UNSET or bytes(zdr) != b"true"


def check_model(
    model: str | None, fallbacks: Sequence[str], served: ServedModel, dialect: OpenAiDialect
) -> None:
    """Raises ApiError, as the owner of the path does, unless a name that is asked for is served.

    A request that names no model gets the one there is.
    """
    names = [name for name in (model, *fallbacks) if name]
    if not names or any(served.known_as(name) is not None for name in names):
        return
    shown, ours = names[0][:200], ", ".join(served.names)
    message = f"The model `{shown}` does not exist; this server has {ours}"
    if dialect.unknown_model_status == 400:
        message = f"{shown} is not a valid model ID; this server has {ours}"
    param = "model" if model else "models"
    raise ApiError(dialect.unknown_model_status, message, param=param, code="model_not_found")


def _listed(names: str | list[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else names or []


def _check_provider(provider: Provider, served: ServedModel) -> None:
    ours = PROVIDER.lower()

    def listed(names: str | list[str] | None) -> bool:
        return ours in [name.partition("/")[0].lower() for name in _listed(names)]

    if provider.only and not listed(provider.only):
        raise _ruled_out("provider.only", f"the only provider here is {PROVIDER}")
    if listed(provider.ignore):
        raise _ruled_out("provider.ignore", f"{PROVIDER} is the only provider here")
    if provider.order and provider.allow_fallbacks is False and not listed(provider.order):
        raise _ruled_out("provider.order", f"without fallbacks, it must name {PROVIDER}")
    quantizations = [name.lower() for name in provider.quantizations or ()]
    if quantizations and served.quantization not in quantizations:
        raise _ruled_out("provider.quantizations", f"the weights here are {served.quantization}")
    if provider.enforce_distillable_text and not served.is_open:
        raise _ruled_out("provider.enforce_distillable_text", "the model's licence is not known")
    most = provider.max_price if isinstance(provider.max_price, MaxPrice) else MaxPrice()
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
