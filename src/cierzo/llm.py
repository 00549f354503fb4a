"""The Python door: `LLM`, a model with its engine in this process, for use without a server.

from cierzo import LLM, SamplingParams

with LLM("smollm2-135m", threads=2) as llm:
    print(llm.chat([{"role": "user", "content": "Name a wind."}]).text)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cierzo.backends.batch import Batch
from cierzo.backends.ops import Logits
from cierzo.chat.answers.detokenizer import Detokenizer
from cierzo.chat.messages import Message
from cierzo.chat.templates.template import load_chat_template
from cierzo.chat.tokenizers.tokenizer import load_tokenizer, token_bytes_of
from cierzo.engine.engine import Engine
from cierzo.engine.errors import EngineError
from cierzo.engine.loading.load import LoadError, load
from cierzo.engine.messages import (
    EngineInfo,
    EngineLaunch,
    FinishReason,
    StepOutput,
    TokenLogprobs,
)
from cierzo.engine.sampling_params import SamplingParams
from cierzo.model.fetch.progress import Progress, silent
from cierzo.model.fetch.registry import resolve
from cierzo.model.readers.checkpoint import open_checkpoint
from cierzo.settings import EngineSettings, Settings, Value, load_settings

Prompt: TypeAlias = str | Sequence[int]
Chat: TypeAlias = Sequence[Message | Mapping[str, Any]]


@dataclass(frozen=True)
class Piece:
    """What one step added to an answer."""

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprobs, ...] = ()
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()
    finish_reason: FinishReason | None = None  # set on the last piece


@dataclass(frozen=True)
class Answer:
    """A finished generation. `text` ends before a stop string; `token_ids` hold every token."""

    prompt_token_ids: tuple[int, ...]
    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprobs, ...] = ()  # of token_ids, if asked for
    prompt_logprobs: tuple[TokenLogprobs, ...] = ()  # of prompt tokens 1, 2, ..., if asked for


def open_engine(
    path: Path, settings: EngineSettings, tokenizer: Path | None = None
) -> tuple[Engine, EngineInfo]:
    """Loads an engine into this process. Raises EngineError with one line if it cannot."""
    launch = EngineLaunch(
        path=str(path), settings=settings, tokenizer=str(tokenizer) if tokenizer else ""
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
        found = resolve(settings.model, progress)
        source = open_checkpoint(found.path, found.tokenizer).tokenizer
        self.name = found.name
        self.sampling = dict(found.entry.sampling)  # what the model's makers advise
        self.tokenizer = load_tokenizer(source)
        self.template = load_chat_template(source, self.tokenizer)
        engine, self.info = open_engine(found.path, settings.engine, found.tokenizer)
        self._engine: Engine | None = engine
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
        self, prompts: str | Sequence[Prompt], params: SamplingParams | None = None
    ) -> list[Answer]:
        """One answer for each prompt (a text, or token ids), computed side by side, in order.

        Raises PromptTooLong, ValueError for parameters out of bounds, EngineError.
        """
        wanted = [prompts] if isinstance(prompts, str) else prompts
        ids = [self.encode(p) if isinstance(p, str) else list(p) for p in wanted]
        params = params or SamplingParams()
        answers: list[_Growing] = [_Growing(tuple(prompt)) for prompt in ids]
        for index, piece in self._run(ids, params):
            answers[index].add(piece)
        return [answer.done() for answer in answers]

    def chat(self, messages: Chat, params: SamplingParams | None = None) -> Answer:
        """The answer to a conversation.

        Without `params`: what the model's makers advise, up to the end of the context. Raises
        ChatError for messages that the model's template cannot write.
        """
        answer = _Growing(tuple(self.render(messages)))
        for piece in self.stream(answer.prompt_token_ids, params):
            answer.add(piece)
        return answer.done()

    def render(self, messages: Chat) -> list[int]:
        """The tokens of a conversation, up to where the assistant speaks."""
        return self.template.render([_message(message) for message in messages])

    def stream(self, prompt: Prompt, params: SamplingParams | None = None) -> Iterator[Piece]:
        """The answer to one prompt, as it comes. Closing the iterator ends the request."""
        ids = self.encode(prompt) if isinstance(prompt, str) else list(prompt)
        for _, piece in self._run([ids], params or self.chat_params()):
            yield piece

    def chat_params(self) -> SamplingParams:
        """What the model's makers advise, up to the end of the context."""
        return SamplingParams(max_tokens=self.info.max_model_len, **self.sampling)  # type: ignore[arg-type]

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
            for _ in self._run([token_ids], params):
                pass
        finally:
            self.engine.observer = None
        if len(seen) != len(token_ids):
            raise EngineError(f"the engine gave logits for {len(seen)} of {len(token_ids)} tokens")
        return rows

    def _run(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams
    ) -> Iterator[tuple[int, Piece]]:
        """Pieces of all answers as they come, each with the index of its prompt."""
        engine = self.engine
        if params.constraint is not None and engine.grammars is None:
            engine.set_vocabulary(token_bytes_of(self.tokenizer))
        waiting = list(enumerate(prompts))[::-1]
        running: dict[str, tuple[int, Detokenizer]] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._at_once:
                    index, prompt = waiting.pop()
                    request_id = str(next(self._ids))
                    engine.add(request_id, prompt, params)
                    running[request_id] = (index, Detokenizer(self.tokenizer, params.stop_in_text))
                for output in engine.step():
                    index, detokenizer = running[output.request_id]
                    piece = _piece(output, detokenizer)
                    if piece.finish_reason is not None:
                        del running[output.request_id]
                        engine.abort(output.request_id)  # a stop string is ours alone to see
                    yield index, piece
        finally:
            for request_id in running:
                engine.abort(request_id)


def _piece(output: StepOutput, detokenizer: Detokenizer) -> Piece:
    """The text of an output. Raises EngineError if the request failed."""
    if output.error is not None:
        raise EngineError(output.error)
    ids = output.token_ids
    shown = ids[:-1] if output.stop_token_id is not None else ids
    added = detokenizer.push(shown)
    text, reason = added.text, output.finish_reason
    if added.stopped:
        reason = "stop"
    elif reason is not None:
        last = detokenizer.finish()
        text += last.text
        reason = "stop" if last.stopped else reason
    return Piece(text, ids, output.logprobs or (), output.prompt_logprobs or (), reason)


@dataclass
class _Growing:
    """An answer while its pieces come."""

    prompt_token_ids: tuple[int, ...]
    pieces: list[Piece] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        self.pieces.append(piece)

    def done(self) -> Answer:
        pieces = self.pieces
        reason = pieces[-1].finish_reason if pieces else None
        if reason is None:
            raise EngineError("the engine ended before the answer did")
        return Answer(
            prompt_token_ids=self.prompt_token_ids,
            text="".join(piece.text for piece in pieces),
            token_ids=tuple(i for piece in pieces for i in piece.token_ids),
            finish_reason=reason,
            logprobs=tuple(entry for piece in pieces for entry in piece.logprobs),
            prompt_logprobs=tuple(entry for piece in pieces for entry in piece.prompt_logprobs),
        )


def _message(message: Message | Mapping[str, Any]) -> Message:
    return message if isinstance(message, Message) else Message(**message)
