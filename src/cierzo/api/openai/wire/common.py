"""Fields that both kinds of completions share: sampling, streaming, usage, and their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from cierzo.api.errors import bad_request, unsupported
from cierzo.api.openai.wire.unread import Unread
from cierzo.settings import Limits

Temperature = Annotated[float, Meta(ge=0, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
RepetitionPenalty = Annotated[float, Meta(gt=0, le=2)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
Count = Annotated[int, Meta(ge=1)]
CountOrZero = Annotated[int, Meta(ge=0)]
CountOrAll = Annotated[int, Meta(ge=-1)]  # -1: no bound
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Biases: TypeAlias = dict[TokenId, Bias] | list[tuple[TokenId, Bias]]  # llama-server's pairs, too
Nothing = Annotated[list[Any], Meta(max_length=0)]  # an empty object, as PHP writes it
Ignored: TypeAlias = Unread  # any form of what cannot change the answer

_SHORT = 64  # bytes of a value that may ask for nothing

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "error"]


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a stream ends."""

    include_usage: bool | None = None
    include_obfuscation: Ignored = UNSET  # padding against eavesdroppers; none is added
    continuous_usage_stats: Ignored = UNSET  # vLLM's; usage comes once, at the end


class UsageOptions(msgspec.Struct, frozen=True):
    """OpenRouter's older way to ask for usage, which its paths always have."""

    include: bool | None = None


class SamplingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How tokens are chosen and sent. null is the same as leaving a field out.

    Fields with the name of one of `SamplingParams` become it (see `api/openai/sampling.py`).
    """

    temperature: Temperature | None = None
    top_p: Probability | None = None  # 0: the likeliest token
    top_k: CountOrAll | None = None  # 0, -1: all
    min_p: Probability | None = None
    top_a: Probability | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    logit_bias: Biases | None = None
    seed: int | None = None
    stop: str | list[str | None] | None = None
    min_tokens: CountOrZero | None = None
    stop_token_ids: list[TokenId] | None = None
    ignore_eos: bool | None = None
    n: Count | None = None
    stream: bool | None = None
    stream_options: StreamOptions | Nothing | None = None
    usage: UsageOptions | Nothing | bool | None = None


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """Where the prompt's tokens came from."""

    cached_tokens: int = 0  # found in the cache, so not computed
    cache_write_tokens: int = 0  # computed, and kept for later requests


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    """What the answer's tokens were. Those of a prediction are counted where they were tried."""

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


def check_length(param: str, values: Sequence[Any] | dict[Any, Any] | None, most: int) -> None:
    """Raises ApiError for a list or object with more than `most` entries."""
    if values is not None and len(values) > most:
        raise bad_request(f"{param}: {len(values)} entries are more than the {most} allowed", param)


def check_sampling(request: SamplingRequest, limits: Limits) -> None:
    """Raises ApiError for more tokens in a list than are allowed."""
    check_length("logit_bias", request.logit_bias, limits.logit_bias_entries)
    check_length("stop_token_ids", request.stop_token_ids, limits.logit_bias_entries)


def refuse_unless(param: str, value: object, why: str, *harmless: object) -> None:
    """Raises ApiError, saying why, unless a value asks for nothing that is not done here.

    null and false are always harmless. JSON that is unread is read if it is short enough to be
    one of those.
    """
    if isinstance(value, Raw) and memoryview(value).nbytes <= _SHORT:
        value = msgspec.json.decode(value)
    if value is UNSET or value is None or value is False or value in harmless:
        return
    raise unsupported(param, why)
