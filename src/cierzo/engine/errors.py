"""What can go wrong between a request and its tokens, as seen by the engine's callers."""

from __future__ import annotations


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


class PromptTooLong(ValueError):
    """The prompt leaves no room for a single token of answer."""

    def __init__(self, num_tokens: int, max_model_len: int) -> None:
        super().__init__(
            f"the prompt has {num_tokens} tokens, but this server's context is {max_model_len} "
            "tokens, answer included; shorten it, or start with a larger --max-model-len"
        )
        self.num_tokens = num_tokens
        self.max_model_len = max_model_len
