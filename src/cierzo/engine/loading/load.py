"""From a launch message to a running engine: checkpoint, memory plan, backend, runner."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cierzo.backends.cpu import CpuBackend
from cierzo.backends.cpu.sizes import (
    BLOCK_SIZE,
    cache_block_bytes,
    scratch_bytes,
    weights_bytes,
)
from cierzo.engine.cache.disk.opening import open_disk_tier
from cierzo.engine.engine import Engine
from cierzo.engine.loading.memory import (
    MemoryNeeds,
    MemoryPlan,
    MemoryPlanError,
    available_memory,
    plan_memory,
)
from cierzo.engine.messages import EngineInfo, EngineLaunch
from cierzo.model.errors import ModelError
from cierzo.model.readers.checkpoint import Checkpoint, open_checkpoint
from cierzo.model.runner import ModelRunner
from cierzo.settings import EngineSettings


class LoadError(RuntimeError):
    """The engine cannot start. One line that says what to do."""


def load(launch: EngineLaunch, report: Callable[[str], None]) -> tuple[Engine, EngineInfo]:
    """Loads what the launch names; `report` hears what is being done. Raises LoadError."""
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
            kv_cache_dtype=settings.kv_cache_dtype,
            max_batch_tokens=settings.max_batch_tokens,
            max_batch_sequences=settings.max_batch_sequences,
            max_model_len=plan.max_model_len,
            quantize=settings.quantize,
        )
        eos = checkpoint.tokenizer.eos_token_ids
        disk = open_disk_tier(runner, _name_of(checkpoint.source), settings)
        engine = Engine(runner, eos, settings, disk)
    except (ModelError, MemoryPlanError, ValueError) as error:
        raise LoadError(str(error)) from error
    except (OSError, MemoryError) as error:
        raise LoadError(f"{launch.path}: {error or 'out of memory'}") from error
    return engine, EngineInfo(
        pid=os.getpid(),
        backend=backend.name,
        threads=backend.threads,
        max_model_len=engine.max_model_len,
        vocab_size=checkpoint.config.vocab_size,
        num_blocks=plan.num_blocks,
        max_batch_sequences=settings.max_batch_sequences,
        memory_plan=plan.text,
        fingerprint=checkpoint.fingerprint(),
    )


def _name_of(path: Path) -> str:
    """What people call a model: of a snapshot in the Hugging Face cache, its repository."""
    if path.parent.name == "snapshots":
        return path.parent.parent.name.removeprefix("models--").replace("--", "/")
    return path.name


def plan_for(checkpoint: Checkpoint, settings: EngineSettings) -> MemoryPlan:
    """Where the memory would go, before anything is loaded. Raises MemoryPlanError."""
    config = checkpoint.config
    heads = config.num_attention_heads + 2 * config.num_key_value_heads
    widths = 4 * config.hidden_size + 2 * heads * config.head_dim + 3 * config.intermediate_size
    needs = MemoryNeeds(
        weights_bytes=weights_bytes(checkpoint.tensors.values(), settings.quantize),
        scratch_bytes=scratch_bytes(
            widths, settings.max_batch_tokens, settings.max_batch_sequences, config.vocab_size
        ),
        block_bytes=cache_block_bytes(
            config.num_hidden_layers,
            config.num_key_value_heads,
            config.head_dim,
            settings.kv_cache_dtype,
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
