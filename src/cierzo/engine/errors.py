"""What can go wrong between a request and its tokens, as seen by the engine's callers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cierzo.engine.messages import StepOutput


class EngineError(RuntimeError):
    """The engine could not finish a request: it died, hung, is stopping, or produced no numbers.

    The text is one line, fit for a client.
    """


class QueueFull(EngineError):
    """Too many requests are waiting already."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"{waiting} requests are waiting already; try again in {retry_after} s")
        self.retry_after = retry_after  # seconds until a place is likely to be free


class NoAnswer(EngineError):
    """No answer was found that has the form which the request wants. Another try ends the same."""


class InvalidRequest(ValueError):
    """A request that its caller should have checked: the engine does not take it in."""


class PromptTooLong(ValueError):
    """The prompt leaves no room for a single token of answer."""

    def __init__(self, num_tokens: int, max_model_len: int) -> None:
        super().__init__(
            f"the prompt has {num_tokens} tokens, but this server's context is {max_model_len} "
            "tokens, answer included; shorten it, or start with a larger --max-model-len"
        )
        self.num_tokens = num_tokens
        self.max_model_len = max_model_len


def error_of(output: StepOutput, max_model_len: int) -> Exception:
    """The exception that an output with `finish_reason` "error" stands for."""
    text = output.error or "the engine failed this request"
    match output.failure:
        case "too_long":
            return PromptTooLong(output.num_prompt_tokens, max_model_len)
        case "invalid":
            return InvalidRequest(text)
        case "no_answer":
            return NoAnswer(text)
    return EngineError(text)
