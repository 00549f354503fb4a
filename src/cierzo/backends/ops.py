"""`Ops`: the few fused operations a device offers, and all that the forward pass knows of it.

A backend may run each operation at once (CUDA) or record it and replay the whole step later in
native code (CPU): the forward pass in `model/transformer.py` reads the same either way. The
tokens, positions and block tables of the step belong to the backend, not to the operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from cierzo.backends.batch import Batch
from cierzo.backends.tensor import RawTensor
from cierzo.settings import CacheDtype, Quantization

A = TypeVar("A")  # an activation, [T, width], on the device
W = TypeVar("W")  # a weight matrix (or several, row-stacked), on the device

Logits = npt.NDArray[np.float32]  # [L, vocab_size]
StepFunction = Callable[[Batch], Logits]


class StepCut(Exception):
    """The step was cut (`Ops.set_cut`): it has no logits, and is to be computed again."""


@dataclass(frozen=True)
class AttentionShape:
    """Sizes of the attention heads and how positions turn them."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    inv_freq: npt.NDArray[np.float64]  # [head_dim / 2], rotary frequencies after any scaling
    rope_scale: float  # factor on cos and sin (YaRN's attention factor; 1 otherwise)
    rope_interleaved: bool  # pairs (2i, 2i+1) as in GGUF and Mistral files, or (i, i+d/2) as in HF


@dataclass(frozen=True)
class CacheShape:
    """Sizes of the paged KV cache."""

    num_layers: int
    num_blocks: int
    block_size: int  # positions in a block
    dtype: CacheDtype


@dataclass(frozen=True)
class Threads:
    """Threads of this machine that compute steps."""

    all: int
    in_use: int  # the others rest: their cores are used by other processes


class Ops(Protocol[A, W]):
    """Operations of one device. Activations are float32 in value, whatever the device holds."""

    @property
    def threads(self) -> Threads:
        """What computes, now."""
        ...

    @property
    def max_logits_rows(self) -> int:
        """Rows that a step may ask for; bounded, since a row has vocab_size floats."""
        ...

    def matrix(self, *parts: RawTensor, quantize: Quantization | None = None) -> W:
        """Lays out row-stacked matrices [rows_i, cols] (qkv, gate-up) as one weight.

        `quantize` makes float matrices smaller. Raises ValueError naming the tensor
        when the device cannot hold it.
        """
        ...

    def vector(self, raw: RawTensor) -> W:
        """Lays out a float vector, such as a norm's weight."""
        ...

    def embed(self, table: W) -> A:
        """The step's token embeddings: [T, hidden]."""
        ...

    def wanted_rows(self, x: A) -> A:
        """Of the step's rows those whose logits are wanted: [L, width]. So for all made of it."""
        ...

    def rms_norm(self, x: A, weight: W, eps: float) -> A:
        """x / sqrt(mean(x^2) + eps) * weight, by row."""
        ...

    def linear(self, x: A, weight: W, residual: A | None = None) -> A:
        """x @ weight.T (+ residual): [T, rows]."""
        ...

    def rope_and_store(self, qkv: A, layer: int) -> A:
        """Turns q and k by position, stores k and v in the layer's cache, returns q."""
        ...

    def paged_attention(self, q: A, layer: int) -> A:
        """Causal grouped-query attention over the layer's cache: [T, num_heads * head_dim]."""
        ...

    def gated_mlp(self, x: A, gate_up: W, down: W, residual: A, *, precise: bool = False) -> A:
        """down(silu(gate(x)) * up(x)) + residual. `gate_up` stacks gate, then up.

        `precise` asks a backend that rounds activations to round them less here.
        """
        ...

    def logits(self, x: A, norm: W, eps: float, lm_head: W) -> A:
        """lm_head(rms_norm(x)) of the wanted rows: [L, vocab_size]."""
        ...

    def compile(self, forward: Callable[[], A]) -> StepFunction:
        """Makes a step function of a forward pass. Its result is valid until the next step.

        The function raises ValueError for a batch that does not hold together, and StepCut.
        """
        ...

    def set_cut(self, cut: bool) -> None:
        """While it is set, a running step soon ends with StepCut, and so does the next. What it
        should have stored may be there in part. For any thread."""
        ...

    def copy_block(self, source: int, target: int) -> None:
        """Copies a cache block's contents over all layers to another block."""
        ...

    def give_back(self, blocks: Sequence[int]) -> None:
        """Gives the memory of cache blocks back to the system; what they held is lost."""
        ...

    def read_block(self, block: int) -> bytes:
        """A cache block's contents over all layers, in the device's own form."""
        ...

    def write_block(self, block: int, data: bytes) -> None:
        """Fills a cache block with what `read_block` gave for the same model and cache type."""
        ...

    @property
    def block_bytes(self) -> int:
        """Bytes of a cache block over all layers."""
        ...

    def save_block(self, block: int, file: int, offset: int) -> int:
        """Writes a cache block to a place in a file; the digest of its bytes. For any thread.

        Raises OSError.
        """
        ...

    def load_block(self, block: int, file: int, offset: int) -> int:
        """Fills a cache block from a file; the digest of what was read. For any thread.

        Raises OSError.
        """
        ...

    def identity(self) -> bytes:
        """Names all on the device that enters the bits of a cache block: the weights that were
        laid out, and how it computes with them."""
        ...


class Backend(Protocol[A, W]):
    """A device that can hold one model."""

    name: str  # as shown to people, such as "cpu (avx512, 2 threads)"
    block_size: int  # positions in a block of its KV cache

    def open(
        self,
        attention: AttentionShape,
        cache: CacheShape,
        *,
        max_batch_tokens: int,
        max_batch_sequences: int,
        max_model_len: int,
    ) -> Ops[A, W]:
        """Allocates the cache and the step's buffers and returns the operations over them."""
        ...
