"""What OpenRouter's requests say of models, providers and plugins."""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import UNSET

from cierzo.api.openai.wire import common

Price: TypeAlias = str | float


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
    enforce_distillable_text: bool | None = None
    order: str | list[str] | None = None
    only: str | list[str] | None = None
    ignore: str | list[str] | None = None
    quantizations: list[str] | None = None
    max_price: MaxPrice | common.Nothing | None = None
    # What holds here anyway, and preferences, which rule nobody out.
    require_parameters: common.Ignored = UNSET  # what cannot be honoured is refused
    data_collection: common.Ignored = UNSET  # none is collected
    zdr: common.Ignored = UNSET  # true: nothing is left in the cache
    sort: common.Ignored = UNSET
    preferred_max_latency: common.Ignored = UNSET
    preferred_min_throughput: common.Ignored = UNSET


class Plugin(msgspec.Struct, frozen=True):
    """Something done to a request or an answer on the way. Its own settings are not looked at."""

    id: str
    enabled: bool | None = None


class RoutedRequest(common.SamplingRequest, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a request says besides its prompt and how to sample."""

    model: str | None = None
    models: str | list[str] | None = None  # in the order in which to try them
    provider: Provider | common.Nothing | None = None
    plugins: list[Plugin] | None = None
    transforms: str | list[str] | None = None
    # The rest names or groups requests, or says how they are to be dealt with: in any form, it
    # changes nothing in the answer.
    route: common.Ignored = UNSET
    service_tier: common.Ignored = UNSET  # the answer says "default"
    user: common.Ignored = UNSET
    metadata: common.Ignored = UNSET
    safety_identifier: common.Ignored = UNSET
    trace: common.Ignored = UNSET
    # How it will be asked again, which says what is to stay in the cache: see `reading/hints.py`.
    session_id: common.Ignored = UNSET
    prompt_cache_key: common.Ignored = UNSET
    prompt_cache_retention: common.Ignored = UNSET
    prompt_cache_options: common.Ignored = UNSET  # its comparison_response_id asks for diagnostics
    cache_control: common.Ignored = UNSET
