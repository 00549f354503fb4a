"""The server that is measured: one request, and what it took as its client saw it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cierzo.cli.http_api import HttpApi
from cierzo.engine.errors import EngineError

# Where models write what they think before they answer.
_REASONING = ("reasoning_content", "reasoning")


@dataclass(frozen=True)
class Answered:
    """One answered request. Seconds from the moment at which it was sent."""

    ttft_s: float  # to the first event with text, reasoning or a call; of an empty answer, its end
    decode_s: float  # from there to the last such event
    wall_s: float  # to the end of the stream
    output_tokens: int  # as the server counts; `counted` is False where events were counted
    counted: bool
    prompt_tokens: int | None  # None: the server does not say
    cached_tokens: int | None

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens after the first, a second."""
        if self.output_tokens < 2 or self.decode_s <= 0:
            return None
        return (self.output_tokens - 1) / self.decode_s

    @property
    def per_token_s(self) -> float | None:
        """Seconds for each token after the first."""
        speed = self.tokens_per_s
        return None if speed is None else 1 / speed


@dataclass(frozen=True)
class Target:
    """A model on a server. Threads may share it."""

    api: HttpApi
    model: str
    ignore_eos: bool = False

    def ask(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        max_tokens: int,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Answered:
        """Sends one request, greedy and streamed. EngineError if it fails."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if tools:
            body["tools"] = list(tools)
        if self.ignore_eos:
            body["ignore_eos"] = True
        return self._answered(body)

    def _answered(self, body: Mapping[str, Any]) -> Answered:
        first = last = ended = None
        events = 0
        usage: Mapping[str, Any] = {}
        timings: Mapping[str, Any] = {}
        began = time.perf_counter()
        for event in self.api.chat(body):
            now = time.perf_counter()
            if _says_something(event):
                events += 1
                first = first or now
                last = now
            if event.get("choices"):
                ended = now
            # Some send them with every event; the last has it all.
            usage = event.get("usage") or usage
            timings = event.get("timings") or timings
        wall = time.perf_counter() - began
        if ended is None:
            raise EngineError("the server's stream held no answer")
        tokens = usage.get("completion_tokens")
        return Answered(
            ttft_s=(first or ended) - began,
            decode_s=0.0 if first is None or last is None else last - first,
            wall_s=wall,
            output_tokens=events if tokens is None else tokens,
            counted=tokens is not None,
            prompt_tokens=usage.get("prompt_tokens"),
            cached_tokens=_cached(usage, timings),
        )


def _says_something(event: Mapping[str, Any]) -> bool:
    """Whether a token has come with an event, not the role or the end alone."""
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        if any(delta.get(name) for name in ("content", "tool_calls", *_REASONING)):
            return True
    return False


def _cached(usage: Mapping[str, Any], timings: Mapping[str, Any]) -> int | None:
    """Tokens of the prompt that were found in a cache, where the server says so.

    OpenAI, Cierzo, vLLM (if told to) say it in the usage; llama-server in `timings.cache_n`, and
    ik_llama.cpp's only by `timings.prompt_n`, the tokens that it did compute.
    """
    details = usage.get("prompt_tokens_details") or {}
    if details.get("cached_tokens") is not None:
        return int(details["cached_tokens"])
    if timings.get("cache_n") is not None:
        return int(timings["cache_n"])
    prompt, computed = usage.get("prompt_tokens"), timings.get("prompt_n")
    if prompt is None or computed is None or not 0 <= computed <= prompt:
        return None
    return int(prompt - computed)
