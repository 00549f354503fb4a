"""How a request wants tokens chosen: what it says, in the words of the rooms below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cierzo.api.errors import bad_request
from cierzo.api.openai.wire.common import SamplingRequest, check_length
from cierzo.api.service import Service
from cierzo.engine.sampling_params import SamplingParams
from cierzo.settings import Limits

# A field of a request is a parameter of the engine's if it has the name of one.
PARAMETERS = tuple(
    name for name in SamplingRequest.__struct_fields__ if name in SamplingParams.__struct_fields__
)
_SEEDS = 2**64  # how many there are: others stand for the one that they leave
_MOST_TOP_K = 2**31 - 1  # a vocabulary has fewer tokens
# What is written in another form there.
_CONVERTED: dict[str, Callable[[Any], Any]] = {
    "logit_bias": dict,
    "stop_token_ids": tuple,
    "seed": lambda seed: seed if -(2**63) <= seed < _SEEDS else seed % _SEEDS,
    "top_k": lambda top_k: min(max(top_k, 0), _MOST_TOP_K),
}


def sampling_of(service: Service, request: SamplingRequest, **logprobs: Any) -> SamplingParams:
    """How to sample: what the request says, then what the model's makers advise, then OpenAI's."""
    advised = service.served.entry.sampling
    return SamplingParams(**{**advised, **_said(request)}, **logprobs)


def _said(request: SamplingRequest) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name in PARAMETERS:
        value = getattr(request, name)
        if value is not None:
            said[name] = _CONVERTED[name](value) if name in _CONVERTED else value
    if request.top_p == 0:
        said |= {"top_p": 1.0, "top_k": 1}
    return said


def stop_strings(stop: str | list[str | None] | None, limits: Limits) -> tuple[str, ...]:
    """The stop strings, checked, each once. Empty ones and null stop nothing."""
    given = (stop,) if isinstance(stop, str) else tuple(stop or ())
    for index, string in enumerate(given):
        if string is not None and len(string) > limits.stop_string_chars:
            param = "stop" if isinstance(stop, str) else f"stop[{index}]"
            most = limits.stop_string_chars
            raise bad_request(f"{param}: must have at most {most} characters", param)
    strings = tuple(dict.fromkeys(string for string in given if string))
    check_length("stop", strings, limits.stop_strings)
    return strings


def number_of_choices(n: int | None, limits: Limits) -> int:
    """How many choices to make. Raises ApiError for too many."""
    if n is not None and n > limits.choices:
        raise bad_request(f"n: {n} choices are more than the {limits.choices} allowed", "n")
    return n or 1
