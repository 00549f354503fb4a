"""Fields that both kinds of completions share: sampling, streaming, usage, and their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

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

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "error"]


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a stream ends."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None  # padding against eavesdroppers; none is added


class UsageOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """OpenRouter's older way to ask for usage, which its paths always have."""

    include: bool | None = None


class SamplingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How tokens are chosen and sent. null is the same as leaving a field out."""

    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None  # 0: all
    min_p: Probability | None = None
    top_a: Probability | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    logit_bias: dict[TokenId, Bias] | None = None
    seed: Seed | None = None
    stop: str | list[str] | None = None
    n: Count | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    usage: UsageOptions | None = None


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """Where the prompt's tokens came from."""

    cached_tokens: int = 0


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    """What the answer's tokens were. Nothing is drafted from a prediction yet."""

    reasoning_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class CostDetails(msgspec.Struct, frozen=True):
    """Where the cost comes from, in US dollars."""

    upstream_inference_prompt_cost: float
    upstream_inference_completions_cost: float
    upstream_inference_cost: float | None = None  # of somebody else's key; there is none


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a request took. A prompt shared by several choices counts once."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cost: float  # US dollars, by the prices in /models
    cost_details: CostDetails
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()
    is_byok: bool = False


class AnswerHead(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer and every event of a stream begins with."""

    id: str
    created: int  # Unix time
    model: str
    provider: str
    system_fingerprint: str  # names build, weights and device
    service_tier: str | UnsetType = UNSET  # the only one there is, where a request names one


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


def refuse_unless(param: str, value: object, why: str, *harmless: object) -> None:
    """Raises ApiError, saying why, unless a value asks for nothing that is not done here.

    null and false are always harmless.
    """
    if value is None or value is False or value in harmless:
        return
    raise unsupported(param, why)


def given(value: T | None, default: T) -> T:
    """null means the default."""
    return default if value is None else value


def usage_in_stream(request: SamplingRequest, path: str) -> bool:
    """Whether a stream ends with its usage: always for OpenRouter, when asked for OpenAI."""
    options, older = request.stream_options, request.usage
    asked = bool(options and options.include_usage) or bool(older and older.include)
    return asked or path.startswith("/api/")
