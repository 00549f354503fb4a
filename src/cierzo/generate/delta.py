"""From the engine's outputs to deltas: what each step added to an answer, in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from cierzo.chat.answers.detokenizer import TokenText
from cierzo.chat.answers.reader import AnswerReader, joined
from cierzo.chat.calls.tool_format import CallDelta, Event
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.engine.errors import error_of
from cierzo.engine.messages import StepOutput, TokenLogprobs
from cierzo.generate.job import Job

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of the answer with its log-probabilities."""

    token: TokenText
    logprobs: TokenLogprobs


@dataclass(frozen=True, slots=True)
class Delta:
    """What a step added to one choice. Tokens, if asked for, come once all their text has."""

    events: tuple[Event, ...] = ()  # texts and calls, in the order in which the model wrote them
    tokens: tuple[ScoredToken, ...] = ()
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()  # arrive in pieces, before the first text
    token_ids: tuple[int, ...] = ()  # all that the step gave, the one that ended it included
    logprobs: tuple[TokenLogprobs, ...] = ()  # of token_ids, if asked for
    finish_reason: FinishReason | None = None  # of the last delta
    stop_string: str | None = None  # the one that ended it
    stop_token: ScoredToken | None = None  # the token that ended it and has no text

    @property
    def text(self) -> str:
        """The content alone."""
        return "".join(event for event in self.events if isinstance(event, str))

    @property
    def calls(self) -> tuple[CallDelta, ...]:
        """What is new of calls alone."""
        return tuple(event for event in self.events if not isinstance(event, str))


class DeltaReader:
    """Reads the outputs of one job."""

    def __init__(self, tokenizer: Tokenizer, job: Job) -> None:
        self._reader = AnswerReader(
            tokenizer,
            job.format,
            stop=job.stop,
            continues=job.continues,
            call_ids=job.call_id,
            spell_tokens=job.params.logprobs is not None,
        )
        self._logprobs: list[TokenLogprobs] = []
        self._called = False

    def read(self, output: StepOutput) -> Delta:
        """The next delta. Raises EngineError for an answer that failed."""
        if output.finish_reason not in (None, "stop", "length"):
            raise error_of(output, output.num_prompt_tokens)
        self._logprobs += output.logprobs or ()
        ids, ended = output.token_ids, output.stop_token_id is not None
        step = self._reader.push(ids[:-1] if ended else ids)
        events, tokens, stop_string = step.events, step.token_texts, step.stop_string
        finish: FinishReason | None = "stop" if step.stopped else None
        if not step.stopped and output.finish_reason is not None:
            rest = self._reader.finish()
            events, tokens = joined(events, rest.events), tokens + rest.token_texts
            finish = "stop" if rest.stopped or output.finish_reason == "stop" else "length"
            stop_string = rest.stop_string
        self._called = self._called or not all(isinstance(event, str) for event in events)
        if finish == "stop" and self._called:
            finish = "tool_calls"
        logprobs, stop_token = self._logprobs, None
        if ended and logprobs and not step.stopped:
            last = TokenText(len(logprobs) - 1, ids[-1], "", b"", 0)
            stop_token = ScoredToken(last, logprobs[-1])
        return Delta(
            events,
            tuple(ScoredToken(t, logprobs[t.index]) for t in tokens) if logprobs else (),
            output.prompt_logprobs or (),
            ids,
            output.logprobs or (),
            finish,
            stop_string,
            stop_token,
        )
