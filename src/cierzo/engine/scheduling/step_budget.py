"""How many prompt tokens a step may take, so that it stays short whatever the machine.

A step cannot be cut off, so its length is how long everyone else's next token, a newcomer, a
cancellation and the answer to a ping must wait. The share of prompts is chosen from the speed of
the last steps; this never changes a result, since results do not depend on how a prompt is cut.

A step of fewer tokens reads the weights more often for what it computes. Measured on two Zen 4
cores, against 512 tokens a step: SmolLM2 loses 11% with 64, 2% with 128, nothing with 256; two of
Devstral's layers lose 20% with 32 and 7% with 64. With the values below SmolLM2 reads a prompt of
4,096 tokens 2.4% slower than in steps of 512.
"""

from __future__ import annotations

STEP_SECONDS = 0.2
# With so many tokens a step reads prompts at nearly full speed. A step may have them if that does
# not take too long: less long while others decode, since they wait in every step; a request that
# comes meanwhile waits once.
FAST_TOKENS = 128
FAST_SECONDS = 1.0
FAST_SECONDS_BESIDE_DECODES = 0.25
# In any case a step has so many that most of its time is not spent on reading weights.
EFFICIENT_TOKENS = 32
LONGEST_SECONDS = 4.0  # not even for the sake of efficiency
FIRST_TOKENS = 16  # while the speed is unknown
FEW_TOKENS = 8


class StepBudget:
    """Keeps the time that a prompt token takes, as a moving average."""

    def __init__(self, max_batch_tokens: int) -> None:
        self._max_batch_tokens = max_batch_tokens
        self.seconds_per_token = 0.0  # 0 while unknown

    def prompt_budget(self, *, others_decode: bool) -> int:
        """Tokens of prompts for the next step, at least 1."""
        if self.seconds_per_token == 0.0:
            return min(FIRST_TOKENS, self._max_batch_tokens)
        tokens_per_second = 1.0 / self.seconds_per_token
        limit = FAST_SECONDS_BESIDE_DECODES if others_decode else FAST_SECONDS
        fast = min(FAST_TOKENS, limit * tokens_per_second)
        efficient = min(EFFICIENT_TOKENS, LONGEST_SECONDS * tokens_per_second)
        tokens = max(STEP_SECONDS * tokens_per_second, fast, efficient)
        return max(1, min(int(tokens), self._max_batch_tokens))

    def observe(self, prompt_tokens: int, seconds: float) -> None:
        """Learns from a step. Few prompt tokens in one say little of the time that each takes."""
        if prompt_tokens == 0:
            return
        average = self.seconds_per_token
        measured = max(seconds, 1e-9) / prompt_tokens
        if average == 0.0:
            self.seconds_per_token = measured
        elif (
            measured < average or prompt_tokens >= FEW_TOKENS or average * FEW_TOKENS > FAST_SECONDS
        ):
            self.seconds_per_token = 0.5 * (average + measured)
