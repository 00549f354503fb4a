"""What an answer took: counted while it comes, complete when it ends, however it ends."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from cierzo.engine.messages import StepOutput
from cierzo.generate.job import Job

Outcome: TypeAlias = Literal["stop", "length", "tool_calls", "cancelled", "refused", "error"]


@dataclass
class Receipt:
    """Tokens of all choices together. A prompt that choices share counts once, and only once the
    engine has taken it in; a refused one costs nothing."""

    prompt_tokens: int = 0
    cached_tokens: int = 0  # of the prompt, found in the cache instead of computed
    written_tokens: int = 0  # of the prompt, computed and left for later requests
    completion_tokens: int = 0
    accepted_prediction: int = 0  # tokens drafted from a prediction that were right
    rejected_prediction: int = 0  # and that were not
    outcomes: list[Outcome] = field(default_factory=list)  # of each choice, as they ended
    first_token_seconds: float | None = None  # from its beginning

    def summary(self) -> dict[str, object]:
        """As a log or a ledger keeps it."""
        summary: dict[str, object] = {
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
            "outcome": ",".join(self.outcomes),
        }
        if self.first_token_seconds is not None:
            summary["first_token_seconds"] = self.first_token_seconds
        return summary


class Observer(Protocol):
    """Is told of all that is generated, as it happens. Cheap: it runs between tokens."""

    def first_token(self, seconds: float) -> None:
        """A choice got its first token, so long after it was given to the engine."""

    def next_tokens(self, count: int, seconds: float) -> None:
        """A choice got more tokens, so long after the last ones."""

    def ended(self, outcome: Outcome) -> None:
        """A choice has ended."""


class ChoiceMeter:
    """Counts one choice."""

    def __init__(self, job: Job, receipt: Receipt, observer: Observer | None) -> None:
        self._counts_prompt = job.index == 0
        self._retains = job.retain
        self._receipt = receipt
        self._observer = observer
        self._last = time.monotonic()
        self._begun = False  # it has had an output
        self._spoken = False  # it has had a token
        self.outcome: Outcome = "cancelled"  # unless something better is known when it closes

    def count(self, output: StepOutput) -> None:
        """The engine has given this now."""
        receipt, tokens = self._receipt, len(output.token_ids)
        if not self._begun and self._counts_prompt:
            receipt.prompt_tokens += output.num_prompt_tokens
            receipt.cached_tokens += output.num_cached_tokens
            if self._retains:
                receipt.written_tokens += output.num_prompt_tokens - output.num_cached_tokens
        self._begun = True
        receipt.accepted_prediction += output.accepted_prediction
        receipt.rejected_prediction += output.rejected_prediction
        if not tokens:
            return
        receipt.completion_tokens += tokens
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        if not self._spoken and receipt.first_token_seconds is None:
            receipt.first_token_seconds = seconds
        if self._observer is not None and self._spoken:
            self._observer.next_tokens(tokens, seconds)
        elif self._observer is not None:
            self._observer.first_token(seconds)
        self._spoken = True

    def close(self) -> None:
        """The choice has ended."""
        self._receipt.outcomes.append(self.outcome)
        if self._observer is not None:
            self._observer.ended(self.outcome)
