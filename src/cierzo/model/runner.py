"""`ModelRunner`: a checkpoint on a device, ready to run steps."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from cierzo.backends.batch import Batch
from cierzo.backends.ops import AttentionShape, Backend, CacheShape, Logits, Threads
from cierzo.model import transformer
from cierzo.model.errors import ModelError
from cierzo.model.readers.checkpoint import Checkpoint
from cierzo.model.rope import rotary_frequencies
from cierzo.model.transformer import forward, load_weights
from cierzo.settings import CacheDtype, Quantization

A = TypeVar("A")
W = TypeVar("W")


class ModelRunner:
    """Runs batches through a model. Not for several threads at once."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        backend: Backend[A, W],
        *,
        num_blocks: int,
        kv_cache_dtype: CacheDtype = "int16",
        max_batch_tokens: int = 512,
        max_batch_sequences: int = 64,
        max_model_len: int = 0,
        quantize: Quantization | None = None,
    ) -> None:
        """Lays the weights out for the device; their file pages may leave memory as it goes.

        `max_model_len` 0 means what the checkpoint says. Raises ModelError, naming the tensor,
        for what the device cannot hold.
        """
        config = checkpoint.config
        self.config = config
        self.num_blocks = num_blocks
        self.block_size = backend.block_size
        self.max_model_len = max_model_len or config.max_position_embeddings
        inv_freq, rope_scale = rotary_frequencies(config)
        try:
            ops = backend.open(
                AttentionShape(
                    num_heads=config.num_attention_heads,
                    num_kv_heads=config.num_key_value_heads,
                    head_dim=config.head_dim,
                    inv_freq=inv_freq,
                    rope_scale=rope_scale,
                    rope_interleaved=config.rope_interleaved,
                ),
                CacheShape(config.num_hidden_layers, num_blocks, self.block_size, kv_cache_dtype),
                max_batch_tokens=max_batch_tokens,
                max_batch_sequences=max_batch_sequences,
                max_model_len=self.max_model_len,
            )
            weights = load_weights(
                ops,
                checkpoint.tensors,
                config,
                quantize=quantize,
                release=checkpoint.release,
            )
            self._step = ops.compile(lambda: forward(ops, weights, config))
        except ValueError as error:
            raise ModelError(f"{checkpoint.source}: {error}") from error
        self.max_logits_rows = ops.max_logits_rows
        self.copy_block = ops.copy_block
        self.give_back = ops.give_back
        self.read_block = ops.read_block
        self.write_block = ops.write_block
        self.block_bytes = ops.block_bytes
        self.block_parts = config.num_hidden_layers  # whose digests `save_block` chains
        self.save_block = ops.save_block
        self.load_block = ops.load_block
        self.set_cut = ops.set_cut
        self._identity = ops.identity
        self._ops = ops

    @property
    def world(self) -> bytes:
        """Names all that enters the bits of a cache block."""
        code = Path(transformer.__file__).read_bytes()
        parts = (self._identity(), repr(self.config).encode(), code)
        return blake2b(b"".join(parts), digest_size=32).digest()

    @property
    def threads(self) -> Threads:
        """What computes, now."""
        return self._ops.threads

    def run(self, batch: Batch) -> Logits:
        """One step: float32 [L, vocab_size], valid until the next.

        At most `max_logits_rows` rows. Raises ValueError for a batch that does not hold together,
        and StepCut while `set_cut` (for any thread) says so.
        """
        return self._step(batch)
