"""How many prompt tokens a step may take, so that it stays short on a slow machine.

A step cannot be cut off, so its length is how long everyone else's next token, a cancellation and
the answer to a ping must wait. The share of prompts is chosen from the speed of the last steps;
this never changes a result, since results do not depend on how a prompt is cut.
"""

from __future__ import annotations

SECONDS_BESIDE_OTHERS = 0.25  # when some sequence waits for its next token
SECONDS_ALONE = 1.0
LEAST_TOKENS = 32  # fewer would read the weights too often for what they compute
FIRST_TOKENS = 64  # while the speed is unknown


class Pacer:
    """Keeps the time that a prompt token takes, as a moving average."""

    def __init__(self, max_batch_tokens: int) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._seconds_per_token = 0.0  # 0 while unknown

    def prompt_budget(self, *, others_decode: bool) -> int:
        """Tokens of prompts for the next step."""
        if self._seconds_per_token == 0.0:
            return min(FIRST_TOKENS, self._max_batch_tokens)
        seconds = SECONDS_BESIDE_OTHERS if others_decode else SECONDS_ALONE
        tokens = max(LEAST_TOKENS, int(seconds / self._seconds_per_token))
        return min(tokens, self._max_batch_tokens)

    def observe(self, prompt_tokens: int, seconds: float) -> None:
        """Learns from a step. Steps with few prompt tokens say little and are passed over."""
        if prompt_tokens < min(LEAST_TOKENS, self._max_batch_tokens):
            return
        measured = seconds / prompt_tokens
        known = self._seconds_per_token
        self._seconds_per_token = measured if known == 0.0 else 0.5 * (known + measured)
