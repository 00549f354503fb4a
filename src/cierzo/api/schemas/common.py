"""Fields that several protocols share: sampling, streaming, usage, and their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from cierzo.api.errors import bad_request, unsupported
from cierzo.settings import Limits

T = TypeVar("T")

Temperature = Annotated[float, Meta(ge=0, le=2)]
TopP = Annotated[float, Meta(gt=0, le=1)]
TopK = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
RepetitionPenalty = Annotated[float, Meta(gt=0, le=2)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
CountOrZero = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a stream ends."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None  # padding against eavesdroppers; none is added


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """Where the prompt's tokens came from."""

    cached_tokens: int = 0


class Usage(msgspec.Struct, frozen=True):
    """What a request cost, in tokens. A prompt shared by several choices counts once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


def stop_strings(stop: str | list[str] | None, limits: Limits) -> tuple[str, ...]:
    """The stop strings, checked. An empty list means none; an empty string is refused."""
    strings = (stop,) if isinstance(stop, str) else tuple(stop or ())
    check_length("stop", strings, limits.stop_strings)
    for index, string in enumerate(strings):
        if not 0 < len(string) <= limits.stop_string_chars:
            param = "stop" if isinstance(stop, str) else f"stop[{index}]"
            most = limits.stop_string_chars
            raise bad_request(f"{param}: must have 1 to {most} characters", param)
    return strings


def check_length(param: str, values: Sequence[Any] | dict[Any, Any] | None, most: int) -> None:
    """Raises ApiError for a list or object with more than `most` entries."""
    if values is not None and len(values) > most:
        raise bad_request(f"{param}: {len(values)} entries are more than the {most} allowed", param)


def check_choices(n: int | None, limits: Limits) -> int:
    """How many choices to make."""
    if n is not None and n > limits.choices:
        raise bad_request(f"n: {n} choices are more than the {limits.choices} allowed", "n")
    return n or 1


def refuse_unless(param: str, value: object, *harmless: object) -> None:
    """Raises ApiError unless a parameter that is not supported has a value that asks for nothing.

    null, false, nothing in a list or object are always harmless.
    """
    if value is None or value is False or value in ([], {}, *harmless):
        return
    raise unsupported(param, f"{param}: this value")


def given(value: T | None, default: T) -> T:
    """null means the default."""
    return default if value is None else value


def usage_in_stream(options: StreamOptions | None, path: str) -> bool:
    """Whether a stream ends with its usage: always for OpenRouter, when asked for OpenAI."""
    return path.startswith("/api/") or bool(options and options.include_usage)
