"""How to choose each next token, and when to stop: in tokens, but for the grammar of the answer."""

from __future__ import annotations

import math

import msgspec

from cierzo.grammar.constraint import Constraint

MAX_LOGPROBS = 20  # alternatives for each token


class InvalidParam(ValueError):
    """A parameter that the engine cannot honour; its text is one line that begins with `name`."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}{problem}")
        self.name = name
        self.problem = problem.lstrip(": ")


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Parameters of one generation, with the defaults of the OpenAI API.

    `validate` checks them against what the engine can honour; callers at the edge apply the
    tighter bounds of their protocol first.
    """

    max_tokens: int = 16  # 0 reads the prompt only, for its log-probabilities
    min_tokens: int = 0
    temperature: float = 1.0  # 0 (or below 1e-5) is greedy
    top_p: float = 1.0
    top_k: int = 0  # 0 means all
    min_p: float = 0.0
    top_a: float = 0.0  # drops tokens less probable than top_a times the square of the largest
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    forbidden: tuple[int, ...] = ()  # token ids that are never chosen
    seed: int | None = None  # None draws one at random when the request is accepted
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None  # alternatives wanted for each token; 0 means the chosen one only
    prompt_logprobs: int | None = None  # the same for each prompt token after the first
    constraint: Constraint | None = None  # what form the answer must have


# Here, for msgspec (0.22) describes a type to itself when it is first read, and two threads that
# are the first at once crash.
msgspec.convert({}, SamplingParams)


def validate(params: SamplingParams, vocab_size: int) -> None:
    """Raises InvalidParam for what the engine cannot honour."""
    try:
        msgspec.convert(msgspec.structs.asdict(params), SamplingParams)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("`$.")[2].partition("`")[0].partition("[")[0]
        raise InvalidParam(name, f": {error}") from None
    _whole("max_tokens", params.max_tokens, 0, 2**31 - 1)
    _whole("min_tokens", params.min_tokens, 0, 2**31 - 1)
    _whole("top_k", params.top_k, 0, 2**31 - 1)
    _real("temperature", params.temperature, 0.0, 1e4)
    _real("top_p", params.top_p, 0.0, 1.0, above=True)
    _real("min_p", params.min_p, 0.0, 1.0)
    _real("top_a", params.top_a, 0.0, 1.0)
    _real("presence_penalty", params.presence_penalty, -100.0, 100.0)
    _real("frequency_penalty", params.frequency_penalty, -100.0, 100.0)
    _real("repetition_penalty", params.repetition_penalty, 0.0, 100.0, above=True)
    if params.min_tokens > params.max_tokens:
        problem = f" is {params.min_tokens}, more than max_tokens, {params.max_tokens}"
        raise InvalidParam("min_tokens", problem)
    if params.seed is not None:
        _whole("seed", params.seed, -(2**63), 2**64 - 1)
    for name, alternatives in (
        ("logprobs", params.logprobs),
        ("prompt_logprobs", params.prompt_logprobs),
    ):
        if alternatives is not None:
            _whole(name, alternatives, 0, MAX_LOGPROBS)
    for token, bias in params.logit_bias.items():
        _whole("logit_bias", token, 0, vocab_size - 1, ": token id")
        _real("logit_bias", bias, -100.0, 100.0, of=f" of token {token}")
    for name, tokens in (
        ("stop_token_ids", params.stop_token_ids),
        ("forbidden", params.forbidden),
    ):
        for token in tokens:
            _whole(name, token, 0, vocab_size - 1, ": token id")


def _whole(name: str, value: int, low: int, high: int, of: str = "") -> None:
    if not low <= value <= high:
        raise InvalidParam(name, f"{of} must be from {low} to {high}, not {value}")


def _real(
    name: str, value: float, low: float, high: float, *, above: bool = False, of: str = ""
) -> None:
    if not math.isfinite(value) or not low <= value <= high or (above and value == low):
        bound = f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
        raise InvalidParam(name, f"{of} must be {bound}, not {value}")
