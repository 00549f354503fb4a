"""A model of many layers in the memory of few: layers take turns with the same weights.

A step takes as long as the deep model does, since no cache of a processor holds even two layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from cierzo.backends.cpu import CpuBackend
from cierzo.backends.cpu.backend import CpuOps, CpuWeight
from cierzo.backends.ops import AttentionShape, CacheShape
from cierzo.backends.tensor import RawTensor
from cierzo.engine.engine import Engine
from cierzo.model.readers.checkpoint import Checkpoint, open_checkpoint
from cierzo.model.runner import ModelRunner
from cierzo.settings import EngineSettings, Quantization

_LAYER = re.compile(r"(?<=model\.layers\.)\d+")


class _Repeated(Mapping[str, RawTensor]):
    """Tensors of so many layers, of which only the first few are there."""

    def __init__(self, tensors: Mapping[str, RawTensor], few: int) -> None:
        self._tensors, self._few = tensors, few

    def __getitem__(self, name: str) -> RawTensor:
        return self._tensors[_LAYER.sub(lambda match: str(int(match[0]) % self._few), name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


class _SharingOps(CpuOps):
    """Lays each matrix out once."""

    _laid_out: dict[tuple[str, ...], CpuWeight]

    def matrix(self, *parts: RawTensor, quantize: Quantization | None = None) -> CpuWeight:
        key = tuple(part.name for part in parts)
        known = self.__dict__.setdefault("_laid_out", {})
        if key not in known:
            known[key] = super().matrix(*parts, quantize=quantize)
        weight: CpuWeight = known[key]
        return weight


class _SharingBackend(CpuBackend):
    def open(
        self,
        attention: AttentionShape,
        cache: CacheShape,
        *,
        max_batch_tokens: int,
        max_batch_sequences: int,
        max_model_len: int,
    ) -> CpuOps:
        return _SharingOps(
            self._pool,
            attention,
            cache,
            max_batch_tokens=max_batch_tokens,
            max_batch_sequences=max_batch_sequences,
            max_model_len=max_model_len,
        )


def deepened(checkpoint: Checkpoint, layers: int) -> Checkpoint:
    """The checkpoint with so many layers."""
    config = checkpoint.config
    return replace(
        checkpoint,
        config=replace(config, num_hidden_layers=layers),
        tensors=_Repeated(checkpoint.tensors, config.num_hidden_layers),
    )


def deep_engine(path: Path, layers: int, positions: int, settings: EngineSettings) -> Engine:
    """An engine for that many positions of a model; `layers` 0: as many as it has."""
    checkpoint = open_checkpoint(path)
    if layers:
        checkpoint = deepened(checkpoint, layers)
    backend = _SharingBackend(threads=settings.threads)
    runner = ModelRunner(
        checkpoint,
        backend,
        num_blocks=-(-positions // backend.block_size),
        kv_cache_dtype=settings.kv_cache_dtype,
        max_batch_tokens=settings.max_batch_tokens,
        max_batch_sequences=settings.max_batch_sequences,
    )
    return Engine(runner, checkpoint.tokenizer.eos_token_ids, settings)
