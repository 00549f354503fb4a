"""From a launch message to a running engine: checkpoint, memory plan, backend, runner."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cierzo.backends.cpu import CpuBackend
from cierzo.backends.ops import AttentionShape, kv_bytes_per_block
from cierzo.backends.tensor import StorageType
from cierzo.engine.engine import Engine
from cierzo.engine.loading.memory import (
    WEIGHTS_FACTOR,
    MemoryNeeds,
    MemoryPlan,
    MemoryPlanError,
    available_memory,
    plan_memory,
)
from cierzo.engine.messages import EngineInfo, EngineLaunch
from cierzo.model.config import ModelConfig
from cierzo.model.errors import ModelError
from cierzo.model.readers.checkpoint import Checkpoint, open_checkpoint
from cierzo.model.runner import ModelRunner
from cierzo.settings import EngineSettings

BLOCK_SIZE = 32
# Bytes a number takes once quantised on load: its bits, and a 16-bit scale for each 32.
_QUANTISED = {"w8": 8.5 / 8, "w4": 4.5 / 8}
_LOGITS = 16 * 2**20  # logits that the CPU backend keeps room for at least
_FLOATS = (StorageType.F32, StorageType.F16, StorageType.BF16)


class LoadError(RuntimeError):
    """The engine cannot start. One line that says what to do."""


def load(launch: EngineLaunch, report: Callable[[str], None]) -> tuple[Engine, EngineInfo]:
    """Loads what the launch names; `report` hears what is being done. Raises LoadError."""
    began = time.monotonic()
    settings = launch.settings
    try:
        report("reading the checkpoint")
        tokenizer = Path(launch.tokenizer) if launch.tokenizer else None
        checkpoint = open_checkpoint(Path(launch.path), tokenizer)
        plan = plan_for(checkpoint, settings)
        backend = CpuBackend(threads=settings.threads)
        report(f"laying out the weights ({plan.text})")
        runner = ModelRunner(
            checkpoint,
            backend,
            num_blocks=plan.num_blocks,
            block_size=BLOCK_SIZE,
            kv_cache_dtype=settings.kv_cache_dtype,
            max_batch_tokens=settings.max_batch_tokens,
            max_batch_sequences=settings.max_batch_sequences,
            max_model_len=plan.max_model_len,
            quantize=settings.quantize or None,
        )
        eos = checkpoint.tokenizer.eos_token_ids
        engine = Engine(runner, eos, settings)
    except (ModelError, MemoryPlanError, ValueError) as error:
        raise LoadError(str(error)) from error
    except (OSError, MemoryError) as error:
        raise LoadError(f"{launch.path}: {error or 'out of memory'}") from error
    return engine, EngineInfo(
        pid=os.getpid(),
        backend=backend.name,
        max_model_len=engine.max_model_len,
        vocab_size=checkpoint.config.vocab_size,
        eos_token_ids=eos,
        num_blocks=plan.num_blocks,
        block_size=BLOCK_SIZE,
        kv_cache_dtype=settings.kv_cache_dtype,
        kv_cache_bytes=plan.kv_cache_bytes,
        weights_bytes=checkpoint.weights_bytes,
        max_batch_tokens=settings.max_batch_tokens,
        max_batch_sequences=settings.max_batch_sequences,
        memory_plan=plan.text,
        fingerprint=checkpoint.fingerprint(),
        load_seconds=time.monotonic() - began,
    )


def plan_for(checkpoint: Checkpoint, settings: EngineSettings) -> MemoryPlan:
    """Where the memory would go, before anything is loaded. Raises MemoryPlanError."""
    config = checkpoint.config
    attention = AttentionShape(
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        inv_freq=np.empty(0),  # does not count for sizes
        rope_scale=1.0,
        rope_interleaved=config.rope_interleaved,
    )
    needs = MemoryNeeds(
        weights_bytes=_weights_bytes(checkpoint, settings.quantize),
        scratch_bytes=_scratch_bytes(config, settings),
        block_bytes=kv_bytes_per_block(
            attention, config.num_hidden_layers, BLOCK_SIZE, settings.kv_cache_dtype
        ),
        block_size=BLOCK_SIZE,
        context=config.max_position_embeddings,
        max_sequences=settings.max_batch_sequences,
    )
    return plan_memory(
        needs,
        available=available_memory(),
        max_model_len=settings.max_model_len,
        kv_cache_mb=settings.kv_cache_memory_mb,
    )


def _weights_bytes(checkpoint: Checkpoint, quantize: str) -> int:
    """What the weights will take in memory, an upper bound."""
    total = 0.0
    for tensor in checkpoint.tensors.values():
        size = float(tensor.data.size)
        if quantize and len(tensor.shape) > 1 and tensor.storage in _FLOATS:
            size = min(size, math.prod(tensor.shape) * _QUANTISED[quantize])
        total += size
    return int(total * WEIGHTS_FACTOR)


def _scratch_bytes(config: ModelConfig, settings: EngineSettings) -> int:
    """What the buffers of a step take: activations in float32, logits, and the sampler's row."""
    heads = config.num_attention_heads + 2 * config.num_key_value_heads
    widths = 4 * config.hidden_size + 2 * heads * config.head_dim + 3 * config.intermediate_size
    rows = max(settings.max_batch_sequences * config.vocab_size, _LOGITS) + 4 * config.vocab_size
    return 4 * (settings.max_batch_tokens * widths + rows)
