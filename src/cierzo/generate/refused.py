"""Why there is no answer: one error for the whole way, with a reason that programs can match."""

from __future__ import annotations

from enum import Enum

from cierzo.chat.messages import Part
from cierzo.engine.errors import EngineError, NoAnswer, PromptTooLong, QueueFull


class Reason(Enum):
    """What kind of refusal it is."""

    INVALID = "invalid"  # the ask contradicts itself, or says what cannot be
    UNSUPPORTED = "unsupported"  # it is understood, and cannot be done
    TOO_LONG = "too_long"  # see `TooLong`
    BUSY = "busy"  # the queue is full; see `retry_after`
    NO_ANSWER = "no_answer"  # no answer has the form that is asked for; another try ends the same
    FAILED = "failed"  # the engine died, hung, stops, or failed this request


class Refused(Exception):
    """An ask that gets no answer, or none to its end. The text is one line for who asked.

    `part` is the part of the ask that is at fault; the text does not name it, so that each protocol
    can spell it in its own words.
    """

    def __init__(
        self, reason: Reason, text: str, part: Part = (), *, retry_after: int | None = None
    ) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.part = part
        self.retry_after = retry_after  # seconds until another try may succeed

    def __str__(self) -> str:
        where = ".".join(map(str, self.part))
        return f"{where}: {self.text}" if where else self.text


class TooLong(Refused):
    """Prompt and answer do not fit into the context. Sizes are in tokens."""

    def __init__(
        self, max_model_len: int, prompt_tokens: int, answer_tokens: int = 0, part: Part = ()
    ) -> None:
        """`answer_tokens` is 0 where the prompt alone is too long."""
        asked = f"the prompt has {prompt_tokens} tokens"
        if answer_tokens:
            asked += f" and the answer may have {answer_tokens}"
        super().__init__(
            Reason.TOO_LONG,
            f"{asked}, but the context is {max_model_len} tokens, answer included; shorten it, or "
            "start with a larger --max-model-len",
            part,
        )
        self.max_model_len = max_model_len
        self.prompt_tokens = prompt_tokens
        self.answer_tokens = answer_tokens

    def __str__(self) -> str:
        return self.text


def refusal_of(error: Exception) -> Refused | None:
    """The refusal that an error of the engine's is; None for a defect."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, PromptTooLong):
        return TooLong(error.max_model_len, error.num_tokens)
    if isinstance(error, QueueFull):
        return Refused(Reason.BUSY, str(error), retry_after=error.retry_after)
    if isinstance(error, NoAnswer):
        return Refused(Reason.NO_ANSWER, str(error))
    if isinstance(error, EngineError):
        return Refused(Reason.FAILED, str(error))
    return None
