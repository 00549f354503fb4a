"""The Python door: `LLM`, a model with its engine in this process, for use without a server.

from cierzo import LLM, SamplingParams

with LLM("smollm2-135m", threads=2) as llm:
    print(llm.chat([{"role": "user", "content": "Name a wind."}]).text)
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cierzo.api.errors import ApiError
from cierzo.api.openai.conversation import conversation_in
from cierzo.backends.batch import Batch
from cierzo.backends.ops import Logits
from cierzo.chat.answers.reader import whole_calls
from cierzo.chat.messages import Message, Part, ToolCall
from cierzo.engine.engine import Engine
from cierzo.engine.errors import EngineError
from cierzo.engine.loading.load import LoadError, load
from cierzo.engine.messages import EngineInfo, EngineLaunch, TokenLogprobs
from cierzo.engine.sampling_params import SamplingParams
from cierzo.generate.answers_now import answers_now
from cierzo.generate.ask import Ask, Conversation
from cierzo.generate.delta import Delta, FinishReason
from cierzo.generate.job import Job
from cierzo.generate.model import Model, read_language
from cierzo.generate.prepare import prepare
from cierzo.generate.prompt import prompt_tokens
from cierzo.generate.refused import Reason, Refused
from cierzo.model.fetch.progress import Progress, silent
from cierzo.model.fetch.registry import resolve
from cierzo.model.readers.checkpoint import open_checkpoint
from cierzo.settings import EngineSettings, Settings, Value, load_settings

Prompt: TypeAlias = str | Sequence[int] | Conversation
Chat: TypeAlias = Sequence[Message | Mapping[str, Any]]


@dataclass(frozen=True)
class Answer:
    """A finished answer. `text` ends before a stop string; `token_ids` hold every token."""

    prompt_token_ids: tuple[int, ...]
    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprobs, ...] = ()  # of token_ids, if asked for
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()  # of prompt tokens 1, 2, ..., if asked for


def open_engine(
    path: Path, settings: EngineSettings, tokenizer: Path | None = None
) -> tuple[Engine, EngineInfo]:
    """Loads an engine into this process. Raises EngineError with one line if it cannot."""
    launch = EngineLaunch(
        path=str(path), settings=settings, tokenizer=str(tokenizer) if tokenizer else None
    )
    try:
        return load(launch, lambda detail: None)
    except LoadError as error:
        raise EngineError(str(error)) from error


class LLM:
    """One model, ready to generate. Not for several threads at once.

    `settings` are those of `EngineSettings` (threads, max_model_len, kv_cache_dtype, quantize,
    ...); neither the environment nor `cierzo.toml` is read. Raises ModelError, SettingsError or
    EngineError, each with one line on what to do.
    """

    def __init__(self, model: str, *, progress: Progress = silent, **settings: Value) -> None:
        flags = {"model": model, **{f"engine.{name}": value for name, value in settings.items()}}
        self._open(load_settings(flags, environment={}, files=())[0], progress)

    @classmethod
    def from_settings(cls, settings: Settings, progress: Progress = silent) -> LLM:
        """An LLM from settings that were loaded already."""
        self = cls.__new__(cls)
        self._open(settings, progress)
        return self

    def _open(self, settings: Settings, progress: Progress) -> None:
        resolved = resolve(settings.model, progress)
        source = open_checkpoint(resolved.path, resolved.tokenizer).tokenizer
        language = read_language(source, remembers=settings.engine.prefix_cache == "on")
        self.name = resolved.name
        self.tokenizer, self.template = language.tokenizer, language.template
        self._sampling = dict(resolved.entry.sampling)
        engine, self.info = open_engine(resolved.path, settings.engine, resolved.tokenizer)
        self._engine: Engine | None = engine
        self._model = Model(language, self.info.max_model_len, self.info.vocab_size)
        self._limits = settings.limits
        self._at_once = settings.engine.max_batch_sequences
        self._ids = itertools.count()

    def __enter__(self) -> LLM:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the memory back. Closing twice does no harm."""
        if self._engine is not None:
            self._engine.cache.close()
        self._engine = None

    @property
    def engine(self) -> Engine:
        """The engine underneath. Raises EngineError after `close`."""
        if self._engine is None:
            raise EngineError("this LLM is closed")
        return self._engine

    def encode(self, text: str) -> list[int]:
        """A text's tokens, with the BOS token if the model was trained with one."""
        return self.tokenizer.encode(text, add_bos=self.tokenizer.adds_bos)

    def generate(
        self,
        prompts: str | Sequence[Prompt],
        params: SamplingParams | None = None,
        *,
        stop: Sequence[str] = (),
    ) -> list[Answer]:
        """One answer for each prompt (a text, token ids, or a conversation), computed side by side.

        Raises Refused, with one line, for what cannot be done.
        """
        several: Sequence[Prompt] = [prompts] if isinstance(prompts, str) else prompts
        params = params or SamplingParams()
        jobs = [self._job(prompt, params, stop) for prompt in several]
        answers = [_Growing(tuple(job.prompt)) for job in jobs]
        for index, delta in self._run(jobs):
            answers[index].add(delta)
        return [answer.whole() for answer in answers]

    def chat(
        self,
        messages: Chat,
        params: SamplingParams | None = None,
        *,
        stop: Sequence[str] = (),
        **asked: Any,
    ) -> Answer:
        """The answer to a conversation; `asked` is what `conversation` takes.

        Without `params`: what the model's makers advise, up to the end of the context.
        """
        job = self._job(self.conversation(messages, **asked), params or self.advised(), stop)
        answer = _Growing(tuple(job.prompt))
        for _, delta in self._run([job]):
            answer.add(delta)
        return answer.whole()

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None, *, stop: Sequence[str] = ()
    ) -> Generator[Delta, None, None]:
        """The answer to one prompt, as it comes. Closing the iterator ends it.

        Without `params`: what the model's makers advise, up to the end of the context.
        """
        for _, delta in self._run([self._job(prompt, params or self.advised(), stop)]):
            yield delta

    def conversation(
        self,
        messages: Chat,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | Mapping[str, Any] | None = None,
        parallel_tool_calls: bool = True,
        response_format: Mapping[str, Any] | None = None,
    ) -> Conversation:
        """A prompt in the forms of OpenAI's chat completions, which are read as the server does.

        Raises Refused for what is wrong with it; what could not be taken as it stands is a Python
        warning.
        """
        fields = {
            "tools": list(tools),
            "tool_choice": tool_choice,
            "parallel_tool_calls": parallel_tool_calls,
            "response_format": response_format,
        }
        try:
            read = conversation_in(messages, fields, self._limits)
        except ApiError as error:
            raise Refused(Reason.INVALID, str(error)) from error
        for line in read.warnings:
            warnings.warn(line, stacklevel=3)
        return read.conversation

    def render(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt; those of a conversation end where the assistant speaks."""
        return list(prompt_tokens(prompt, self._model))

    def advised(self, **own: Any) -> SamplingParams:
        """What the model's makers advise, with `own` in its place; up to the end of the context."""
        return SamplingParams(**{"max_tokens": self.info.max_model_len, **self._sampling, **own})

    def logits(self, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Logits after each of these tokens: float32 [len(token_ids), vocab_size].

        Computed as a request's prompt is, in the engine's chunks. Leaves room for one token of
        answer, so at most `info.max_model_len - 1` tokens.
        """
        rows = np.empty((len(token_ids), self.info.vocab_size), dtype=np.float32)
        seen: set[int] = set()

        def keep(batch: Batch, logits: Logits) -> None:
            for row, values in zip(batch.logits_rows, logits, strict=True):
                position = int(batch.positions[row])
                rows[position] = values
                seen.add(position)

        params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
        self.engine.observer = keep
        try:
            for _ in self._run([self._job(token_ids, params)]):
                pass
        finally:
            self.engine.observer = None
        if len(seen) != len(token_ids):
            raise EngineError(f"the engine gave logits for {len(seen)} of {len(token_ids)} tokens")
        return rows

    def _job(self, prompt: Prompt, params: SamplingParams, stop: Sequence[str] = ()) -> Job:
        ask = Ask(prompt=prompt, sampling=params, max_tokens=params.max_tokens, stop=tuple(stop))
        (job,) = prepare(ask, self._model, str(next(self._ids)), _warn)
        return job

    def _run(self, jobs: Sequence[Job]) -> Generator[tuple[int, Delta], None, None]:
        """The deltas of all answers as they come, each with the index of its job."""
        engine = self.engine
        if engine.grammars is None and any(job.params.constraint for job in jobs):
            engine.set_vocabulary(self._model.language.vocabulary)
        return answers_now(engine, jobs, self.tokenizer, at_once=self._at_once)


@dataclass
class _Growing:
    """An answer while its deltas come."""

    prompt_token_ids: tuple[int, ...]
    deltas: list[Delta] = field(default_factory=list)

    def add(self, delta: Delta) -> None:
        self.deltas.append(delta)

    def whole(self) -> Answer:
        deltas = self.deltas
        reason = deltas[-1].finish_reason if deltas else None
        if reason is None:
            raise EngineError("the engine ended before the answer did")
        return Answer(
            prompt_token_ids=self.prompt_token_ids,
            text="".join(delta.text for delta in deltas),
            token_ids=tuple(token for delta in deltas for token in delta.token_ids),
            finish_reason=reason,
            tool_calls=whole_calls(call for delta in deltas for call in delta.calls),
            logprobs=tuple(entry for delta in deltas for entry in delta.logprobs),
            prompt_logprobs=tuple(entry for delta in deltas for entry in delta.prompt_logprobs),
        )


def _warn(line: str, part: Part) -> None:
    warnings.warn(f"{'.'.join(map(str, part))}: {line}", stacklevel=5)
