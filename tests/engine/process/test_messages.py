"""Frames survive any cut of the stream, and nonsense is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cierzo.engine.messages import (
    MAX_FRAME_BYTES,
    Abort,
    Add,
    EngineLaunch,
    EngineStats,
    FromEngine,
    Outputs,
    Ping,
    Pong,
    Start,
    StepOutput,
    ToEngine,
    TokenLogprobs,
    encode_frame,
    reads_from_engine,
    reads_to_engine,
)
from cierzo.engine.sampling_params import SamplingParams
from cierzo.settings import EngineSettings

PARAMS = SamplingParams(max_tokens=3, logit_bias={5: -1.5}, seed=2**64 - 1)
TO_ENGINE: list[ToEngine] = [
    Start(EngineLaunch(path="model.gguf", settings=EngineSettings(threads=2))),
    Add("id", b"\x01\x00\x00\x00", PARAMS),
    Abort("id"),
    Ping(7),
]
LOGPROBS = (TokenLogprobs(5, -0.25, ((5, -0.25), (6, -1.75))),)
FROM_ENGINE: list[FromEngine] = [
    Outputs(
        (
            StepOutput("a", (1, 2), LOGPROBS, None, "stop", 2, 9),
            StepOutput("b", finish_reason="error", error="no"),
        ),
        EngineStats(running=3, step_seconds=0.5),
    ),
    Pong(7, EngineStats()),
]


@given(sizes=st.lists(st.integers(1, 40)))
def test_any_cut_of_the_stream_gives_the_same_messages(sizes: list[int]) -> None:
    stream = b"".join(encode_frame(message) for message in TO_ENGINE)
    reader = reads_to_engine()
    messages: list[ToEngine] = []
    start = 0
    for size in [*sizes, len(stream)]:
        messages += reader.feed(stream[start : start + size])
        start += size
    assert messages == TO_ENGINE


def test_messages_of_the_engine() -> None:
    stream = b"".join(encode_frame(message) for message in FROM_ENGINE)
    assert list(reads_from_engine().feed(stream)) == FROM_ENGINE


def test_a_frame_over_the_limit_is_refused_before_it_arrives() -> None:
    with pytest.raises(ValueError, match="over the limit"):
        list(reads_to_engine().feed((MAX_FRAME_BYTES + 1).to_bytes(4, "little")))


def test_a_frame_over_the_limit_is_not_made() -> None:
    with pytest.raises(ValueError, match="over the limit"):
        encode_frame(Add("id", bytes(MAX_FRAME_BYTES), PARAMS))


@pytest.mark.parametrize(
    "frame",
    [
        b"\x01\x00\x00\x00\xc1",
        encode_frame(Pong(1, EngineStats())),  # the other direction's
        b"\x02\x00\x00\x00\x90\x90",
    ],
)
def test_what_is_not_a_message_is_refused(frame: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        list(reads_to_engine().feed(frame))
