"""How to choose each next token, and when to stop: all of it in tokens, none of it in text."""

from __future__ import annotations

import msgspec


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Parameters of one generation, with the defaults of the OpenAI API.

    `validate` checks them against what the engine can honour; callers at the edge apply the
    tighter bounds of their protocol first.
    """

    max_tokens: int = 16
    min_tokens: int = 0
    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0
    top_k: int = 0  # 0 means all
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    seed: int | None = None  # None draws one at random when the request is accepted
    stop: tuple[str, ...] = ()  # text: matched by the detokenizer, outside the engine
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None  # alternatives wanted for each token; 0 means the chosen one only
    prompt_logprobs: int | None = None  # the same for each prompt token after the first
