"""A small random model on the CPU backend, and the batches that run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cierzo.backends.batch import Batch
from cierzo.backends.cpu import CpuBackend
from cierzo.backends.ops import AttentionShape, CacheShape
from cierzo.backends.tensor import RawTensor, StorageType
from cierzo.model.config import ModelConfig
from cierzo.model.rope import rotary_frequencies
from cierzo.model.transformer import forward, load_weights
from cierzo.settings import CacheDtype, Quantization
from tests.support.checkpoints import TinyModel, Weights, random_weights
from tests.support.quantise import quantise
from tests.support.tiny_model import rope_scaling

BLOCK = 32
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """One sequence's share of a step."""

    tokens: Sequence[int]
    start: int  # position of the first of them
    blocks: Sequence[int]  # the sequence's cache blocks


def batch_of(*sequences: Rows, logits: Sequence[int] | None = None) -> Batch:
    """The step of these sequences; logits of all rows unless said otherwise."""
    lengths = [len(rows.tokens) for rows in sequences]
    contexts = [rows.start + len(rows.tokens) for rows in sequences]
    tables = np.full((len(sequences), -(-max(contexts) // BLOCK)), -1, dtype=np.int32)
    for table, rows, context in zip(tables, sequences, contexts, strict=True):
        used = -(-context // BLOCK)
        table[:used] = rows.blocks[:used]
    starts = np.cumsum([0, *lengths]).astype(np.int32)
    return Batch(
        token_ids=np.concatenate([np.array(r.tokens, dtype=np.int32) for r in sequences]),
        positions=np.concatenate(
            [np.arange(r.start, r.start + len(r.tokens), dtype=np.int32) for r in sequences]
        ),
        query_start=starts,
        context_len=np.array(contexts, dtype=np.int32),
        block_tables=tables,
        logits_rows=np.arange(starts[-1], dtype=np.int32)
        if logits is None
        else np.array(logits, dtype=np.int32),
    )


class TinyRunner:
    """A model of random weights, run without files."""

    def __init__(
        self,
        model: TinyModel,
        *,
        weights: Weights | None = None,
        storage: StorageType = StorageType.F32,
        threads: int = 2,
        interleaved: bool = False,
        kv_cache_dtype: CacheDtype = "int16",
        num_blocks: int = 64,
        max_batch_tokens: int = 1024,
        quantize: Quantization | None = None,
    ) -> None:
        self.model = model
        self.backend = CpuBackend(threads)
        self.config = _config(model, interleaved=interleaved)
        inv_freq, rope_scale = rotary_frequencies(self.config)
        self.ops = self.backend.open(
            AttentionShape(
                num_heads=model.num_attention_heads,
                num_kv_heads=model.num_key_value_heads,
                head_dim=model.head_dim,
                inv_freq=inv_freq,
                rope_scale=rope_scale,
                rope_interleaved=interleaved,
            ),
            CacheShape(model.num_hidden_layers, num_blocks, BLOCK, kv_cache_dtype),
            max_batch_tokens=max_batch_tokens,
            max_batch_sequences=64,
            max_model_len=model.max_position_embeddings,
        )
        given = random_weights(model) if weights is None else weights
        tensors = {name: raw_tensor(name, value, storage) for name, value in given.items()}
        laid_out = load_weights(self.ops, tensors, self.config, quantize=quantize)
        self.step = self.ops.compile(lambda: forward(self.ops, laid_out, self.config))

    def run(self, *sequences: Rows) -> Float32:
        """Logits of all rows, in a copy."""
        return self.step(batch_of(*sequences)).copy()

    def prompt(self, tokens: Sequence[int], chunk: int = 0, blocks: Sequence[int] = ()) -> Float32:
        """Logits [T, vocab] of a prompt, computed `chunk` tokens at a time (0: at once)."""
        size = chunk or len(tokens)
        table = blocks or range(-(-len(tokens) // BLOCK))
        return np.concatenate(
            [
                self.run(Rows(tokens[start : start + size], start, table))
                for start in range(0, len(tokens), size)
            ]
        )


def raw_tensor(name: str, value: Float32, storage: StorageType = StorageType.F32) -> RawTensor:
    """A tensor as a checkpoint would give it; vectors stay F32, as in every GGUF."""
    kind = storage if value.ndim == 2 else StorageType.F32
    data = quantise(value, kind).reshape(-1).view(np.uint8)
    return RawTensor(name, value.shape, kind, data, Path("random"))


def random_tokens(model: TinyModel, count: int, seed: int = 0) -> list[int]:
    """A prompt."""
    return np.random.default_rng(seed).integers(0, model.vocab_size, count).tolist()


def _config(model: TinyModel, *, interleaved: bool) -> ModelConfig:
    return ModelConfig(
        architecture=model.architecture,
        hidden_size=model.hidden_size,
        num_hidden_layers=model.num_hidden_layers,
        num_attention_heads=model.num_attention_heads,
        num_key_value_heads=model.num_key_value_heads,
        head_dim=model.head_dim,
        intermediate_size=model.intermediate_size,
        vocab_size=model.vocab_size,
        rms_norm_eps=model.rms_norm_eps,
        rope_theta=model.rope_theta,
        max_position_embeddings=model.max_position_embeddings,
        tie_word_embeddings=model.tie_word_embeddings,
        rope_interleaved=interleaved,
        rope_scaling=rope_scaling(model.rope_scaling),
    )
