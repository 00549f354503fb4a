"""Tiny real models on the real backend, and requests run to their end, for this room's tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cierzo.backends.cpu import CpuBackend
from cierzo.backends.tensor import StorageType
from cierzo.engine.cache.disk.opening import open_disk_tier
from cierzo.engine.engine import Engine
from cierzo.engine.messages import StepOutput, TokenLogprobs
from cierzo.engine.sampling_params import SamplingParams
from cierzo.model.readers.checkpoint import open_checkpoint
from cierzo.model.runner import ModelRunner
from cierzo.settings import EngineSettings
from tests.support.checkpoints import TinyModel, write_gguf

VOCAB = TinyModel().vocab_size


def write_model(folder: Path) -> Path:
    """A quantised model of two layers; 1,024 positions."""
    path = folder / "tiny.gguf"
    write_gguf(path, TinyModel(), StorageType.Q4_1)
    return path


def make_engine(
    path: Path,
    *,
    num_blocks: int = 400,
    threads: int = 2,
    eos: tuple[int, ...] = (),
    disk: Path | None = None,
    **settings: Any,
) -> Engine:
    """An engine with the cache and bounds that a test wants, and with a disk tier in a folder."""
    kept = {"kv_cache_dir": str(disk)} if disk else {"kv_cache_disk_gb": 0.0}
    wanted = EngineSettings(**{**kept, **settings})
    runner = ModelRunner(
        open_checkpoint(path),
        CpuBackend(threads=threads),
        num_blocks=num_blocks,
        kv_cache_dtype=wanted.kv_cache_dtype,
        max_batch_tokens=wanted.max_batch_tokens,
        max_batch_sequences=wanted.max_batch_sequences,
    )
    return Engine(runner, eos, wanted, open_disk_tier(runner, path.name, wanted))


@dataclass
class Answer:
    """All that a request got."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprobs] = field(default_factory=list)
    finish_reason: str | None = None
    error: str | None = None

    def take(self, output: StepOutput) -> None:
        """Adds one step's output."""
        assert self.finish_reason is None
        self.token_ids += output.token_ids
        self.logprobs += output.logprobs or ()
        self.prompt_logprobs += output.prompt_logprobs or ()
        self.finish_reason = output.finish_reason
        self.error = output.error


@dataclass(frozen=True)
class Request:
    """A prompt and how to answer it, and after how many steps it arrives."""

    prompt: list[int]
    params: SamplingParams
    arrives: int = 0


def random_prompt(seed: int, length: int) -> list[int]:
    """Token ids that the model knows."""
    return np.random.default_rng(seed).integers(3, VOCAB, length).tolist()


def run(engine: Engine, requests: dict[str, Request]) -> dict[str, Answer]:
    """Runs requests to their end; afterwards the engine must hold nothing."""
    answers = {name: Answer() for name in requests}
    pending = sorted(requests, key=lambda name: requests[name].arrives)
    step = 0
    while pending or engine.has_work():
        while pending and requests[pending[0]].arrives <= step:
            name = pending.pop(0)
            engine.add(name, requests[name].prompt, requests[name].params)
        for output in engine.step():
            answers[output.request_id].take(output)
        step += 1
    stats = engine.stats()
    assert stats.free_blocks == stats.num_blocks
    assert stats.running == stats.waiting == 0
    return answers
