"""What the engine process and its client say to each other, and how it is framed.

A frame is a 4-byte little-endian length and that many bytes of msgpack: one message of a tagged
union. Both ends refuse a frame longer than `MAX_FRAME_BYTES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Literal, TypeAlias, TypeVar

import msgspec

from cierzo.engine.cache.hints import NO_HINTS, Hints
from cierzo.engine.sampling_params import SamplingParams
from cierzo.grammar.constraint import Constraint
from cierzo.grammar.vocabulary import TokenBytes
from cierzo.settings import EngineSettings

MAX_FRAME_BYTES = 64 * 2**20
_LENGTH_BYTES = 4

FinishReason: TypeAlias = Literal["stop", "length", "abort", "error"]
# What an error is: a request that is invalid, or too long; one that no answer has the form of; or a
# failure of the engine. `errors.error_of` is the exception.
Failure: TypeAlias = Literal["invalid", "too_long", "no_answer", "failed"]


class TokenLogprobs(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Log-probability of one token, and of the most likely tokens in its place.

    Taken from the model's own logits, before temperature, penalties, bias and cuts.
    """

    token_id: int
    logprob: float  # natural logarithm
    top: tuple[tuple[int, float], ...]  # (token id, logprob), most likely first


class StepOutput(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one step gave one request.

    `prompt_logprobs` arrives in pieces as the prompt is read: joined in order they cover prompt
    tokens 1, 2, ... (the first token has no probability).
    """

    request_id: str
    token_ids: tuple[int, ...] = ()  # new tokens, the one that ended the answer included
    logprobs: tuple[TokenLogprobs, ...] | None = None  # for each of token_ids, if asked for
    prompt_logprobs: tuple[TokenLogprobs, ...] | None = None
    finish_reason: FinishReason | None = None  # set on the last output of a request
    stop_token_id: int | None = None  # the last of token_ids ended the answer: it is not text
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0  # of the prompt, found in the cache instead of computed
    # Tokens drafted from `Add.prediction` since the last output that were right, and that were not.
    accepted_prediction: int = 0
    rejected_prediction: int = 0
    error: str | None = None  # one line, with finish_reason "error"
    failure: Failure | None = None  # with an error: what kind it is


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine turned out to be, once loaded."""

    pid: int
    backend: str  # as shown to people, such as "cpu (avx512, 2 threads)"
    threads: int
    max_model_len: int  # tokens of prompt and answer together, for one request
    vocab_size: int
    num_blocks: int
    max_batch_sequences: int
    memory_plan: str  # one line for people: where the memory goes
    fingerprint: str  # names the weights


class EngineStats(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """Gauges of now, and counters since the engine started."""

    running: int = 0  # requests in the current batch
    waiting: int = 0  # accepted, not yet begun or preempted
    free_blocks: int = 0  # that can be had: those that are cached and not needed among them
    cached_blocks: int = 0
    num_blocks: int = 0
    disk_blocks: int = 0
    threads: int = 0
    threads_in_use: int = 0  # the others rest while other processes have their cores
    requests: int = 0  # counters from here on
    finished: int = 0
    aborted: int = 0
    failed: int = 0
    prompt_tokens: int = 0  # of prompts read to the end
    computed_tokens: int = 0  # through the model, recomputed ones included
    generated_tokens: int = 0
    cached_tokens: int = 0
    evicted_blocks: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0  # of those that were drafted
    drafted_predicted: int = 0  # of those, from what clients had predicted
    accepted_predicted: int = 0
    drafted_recent: int = 0  # of those, from answers to other requests
    accepted_recent: int = 0
    disk_bytes_written: int = 0
    disk_bytes_read: int = 0
    disk_loads_failed: int = 0  # blocks that were not as they had been written
    disk_loads_skipped: int = 0  # times that computing was faster
    disk_loads_overdue: int = 0  # times that the disk did not answer
    preemptions: int = 0
    steps: int = 0
    step_seconds: float = 0.0


class EngineLaunch(msgspec.Struct, frozen=True, kw_only=True):
    """All that an engine process needs to know to start."""

    path: str  # a checkpoint file or folder
    tokenizer: str | None = None  # a tekken.json to use in place of the checkpoint's own vocabulary
    settings: EngineSettings = EngineSettings()


# Client to engine.


class Start(msgspec.Struct, frozen=True, tag=True):
    """The first message: load this."""

    launch: EngineLaunch


class SetVocabulary(msgspec.Struct, frozen=True, tag=True):
    """The model's tokens, which constraints need; sent once."""

    source: TokenBytes


class Compile(msgspec.Struct, frozen=True, tag=True):
    """Asks whether a constraint can be used; it is then ready for requests that come with it."""

    serial: int
    constraint: Constraint


class Forget(msgspec.Struct, frozen=True, tag=True):
    """Nobody waits for the answer to the `Compile` of that serial any more."""

    serial: int


class Add(msgspec.Struct, frozen=True, tag=True):
    """A new request. `prompt` is int32 token ids, little-endian.

    It shares what is cached with requests of the same `cache_salt` alone.
    """

    request_id: str
    prompt: bytes
    params: SamplingParams
    cache_salt: str = ""
    retain: bool = True  # whether what is computed for it is left for later ones
    prediction: bytes = b""  # int32 token ids: what the answer is likely to be
    hints: Hints = NO_HINTS


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Ends a request, if it still runs; nothing more is said about it."""

    request_id: str


class ClearCache(msgspec.Struct, frozen=True, tag=True):
    """Asks to forget what is cached of the requests of a salt and no running one needs."""

    serial: int
    salt: str


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Answered twice: with `Beat` by the process, with `Pong` by its loop between two steps."""

    serial: int


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """Exit now; whatever still runs is dropped."""


ToEngine: TypeAlias = (
    Start | SetVocabulary | Compile | Forget | ClearCache | Add | Abort | Ping | Shutdown
)

# Engine to client.


class Loading(msgspec.Struct, frozen=True, tag=True):
    """How far loading is."""

    detail: str


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Requests are welcome."""

    info: EngineInfo


class Note(msgspec.Struct, frozen=True, tag=True):
    """An event for the log."""

    level: str
    part: str
    event: str
    fields: dict[str, str | int | float]


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """The engine cannot start and exits; `error` is one line that says what to do."""

    error: str


# Whose fault it is that a constraint cannot be compiled: that of its grammar, of the beginning of
# the answer that comes with it, or the engine's own.
Fault: TypeAlias = Literal["grammar", "beginning", "engine"]


class CompileFailure(msgspec.Struct, frozen=True):
    """Why a constraint cannot be compiled, in one line."""

    fault: Fault
    problem: str


class CompileResult(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Compile`."""

    serial: int
    failure: CompileFailure | None


class CacheCleared(msgspec.Struct, frozen=True, tag=True):
    """The answer to `ClearCache`."""

    serial: int
    num_tokens: int


class Outputs(msgspec.Struct, frozen=True, tag=True):
    """All that one step gave, in one frame."""

    outputs: tuple[StepOutput, ...]
    stats: EngineStats


class Beat(msgspec.Struct, frozen=True, tag=True):
    """Answer to the ping of that serial, at once: the process is alive, whatever it is at."""

    serial: int


class Pong(msgspec.Struct, frozen=True, tag=True):
    """Answer to the ping of that serial: every earlier message has been taken in."""

    serial: int
    stats: EngineStats


FromEngine: TypeAlias = (
    Loading | Note | Ready | LoadFailed | CompileResult | CacheCleared | Outputs | Beat | Pong
)

_encoder = msgspec.msgpack.Encoder()
_TO_ENGINE = msgspec.msgpack.Decoder(ToEngine)
_FROM_ENGINE = msgspec.msgpack.Decoder(FromEngine)


def encode_frame(message: ToEngine | FromEngine) -> bytearray:
    """One frame, ready to send."""
    frame = bytearray(_LENGTH_BYTES)
    _encoder.encode_into(message, frame, _LENGTH_BYTES)
    length = len(frame) - _LENGTH_BYTES
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
    frame[:_LENGTH_BYTES] = length.to_bytes(_LENGTH_BYTES, "little")
    return frame


M = TypeVar("M")


class FrameReader(Generic[M]):
    """Cuts a stream of bytes into messages of one type.

    Raises ValueError for a frame over the limit, msgspec.DecodeError for one that is not valid;
    the stream is of no use after either.
    """

    def __init__(self, decoder: msgspec.msgpack.Decoder[M]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[M]:
        """Takes bytes as they arrive and gives the messages that are now complete."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= _LENGTH_BYTES:
            body = start + _LENGTH_BYTES
            length = int.from_bytes(buffer[start:body], "little")
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {length} bytes is over the limit")
            if len(buffer) < body + length:
                break
            start = body + length
            yield self._decoder.decode(bytes(buffer[body:start]))
        del buffer[:start]


def reads_to_engine() -> FrameReader[ToEngine]:
    """For the engine's end."""
    return FrameReader(_TO_ENGINE)


def reads_from_engine() -> FrameReader[FromEngine]:
    """For the client's end."""
    return FrameReader(_FROM_ENGINE)
