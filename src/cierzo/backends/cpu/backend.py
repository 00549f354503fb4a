"""`CpuBackend`: the CPU as a device. Records the forward pass and replays it in native code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cierzo import _native
from cierzo.backends.batch import Batch, Int32Array
from cierzo.backends.cpu.identity import Identity
from cierzo.backends.cpu.sizes import BLOCK_SIZE
from cierzo.backends.cpu.threads import DefaultThreads, default_threads
from cierzo.backends.cpu.weights import pack
from cierzo.backends.ops import AttentionShape, CacheShape, Logits, StepCut, StepFunction, Threads
from cierzo.backends.tensor import RawTensor, StorageType
from cierzo.settings import Quantization


@dataclass(frozen=True)
class CpuWeight:
    """A matrix in packed parts (row-stacked), or a vector of float32."""

    parts: tuple[_native.PackedWeight, ...] = ()
    vector: npt.NDArray[np.float32] | None = None


class CpuBackend:
    """This machine's processor."""

    block_size = BLOCK_SIZE

    def __init__(self, threads: int = 0) -> None:
        """`threads` 0: as many as `default_threads` says."""
        chosen = DefaultThreads(threads, "") if threads else default_threads()
        self._pool = _native.ThreadPool(chosen.count)
        plural = "" if chosen.count == 1 else "s"
        because = f": {chosen.reason}" if chosen.reason else ""
        self.name = f"cpu ({_native.active_isa()}, {chosen.count} thread{plural}{because})"

    @property
    def threads(self) -> int:
        """Threads that compute, the calling one among them."""
        return self._pool.threads

    def open(
        self,
        attention: AttentionShape,
        cache: CacheShape,
        *,
        max_batch_tokens: int,
        max_batch_sequences: int,
        max_model_len: int,
    ) -> CpuOps:
        """See `Backend`. Raises ValueError for shapes that the kernels do not know."""
        if cache.block_size != BLOCK_SIZE:
            raise ValueError(f"the CPU's cache has blocks of {BLOCK_SIZE}, not {cache.block_size}")
        return CpuOps(
            self._pool,
            attention,
            cache,
            max_batch_tokens=max_batch_tokens,
            max_batch_sequences=max_batch_sequences,
            max_model_len=max_model_len,
        )


class CpuOps:
    """Operations that are recorded, and run when a step comes. Holds one model."""

    def __init__(
        self,
        pool: _native.ThreadPool,
        attention: AttentionShape,
        cache: CacheShape,
        *,
        max_batch_tokens: int,
        max_batch_sequences: int,
        max_model_len: int,
    ) -> None:
        self._cache = _native.KvCache(
            layers=cache.num_layers,
            blocks=cache.num_blocks,
            kv_heads=attention.num_kv_heads,
            head_dim=attention.head_dim,
            dtype=cache.dtype,
        )
        self._program = _native.Program(
            pool,
            self._cache,
            num_heads=attention.num_heads,
            num_kv_heads=attention.num_kv_heads,
            head_dim=attention.head_dim,
            inv_freq=np.ascontiguousarray(attention.inv_freq, dtype=np.float64),
            rope_scale=attention.rope_scale,
            rope_interleaved=attention.rope_interleaved,
            max_batch_tokens=max_batch_tokens,
            max_batch_sequences=max_batch_sequences,
            max_model_len=max_model_len,
        )
        self._pool = pool
        self._identity = Identity(attention, cache, pool.threads)
        # Weights that the program refers to and does not own.
        self._weights: list[CpuWeight] = []

    @property
    def max_logits_rows(self) -> int:
        """See `Ops`; known once `logits` is recorded."""
        return self._program.max_logits_rows

    @property
    def threads(self) -> Threads:
        """See `Ops`."""
        return Threads(self._pool.threads, self._pool.active_threads)

    # --- weights --------------------------------------------------------------------------------

    def matrix(self, *parts: RawTensor, quantize: Quantization | None = None) -> CpuWeight:
        """See `Ops`. Parts may have different types."""
        for part in parts:
            self._identity.add(part, quantize)
        weight = CpuWeight(parts=tuple(pack(part, self._pool.threads, quantize) for part in parts))
        self._weights.append(weight)
        return weight

    def vector(self, raw: RawTensor) -> CpuWeight:
        """See `Ops`. F32, F16 or BF16."""
        self._identity.add(raw)
        return CpuWeight(vector=_float32(raw))

    # --- recording ------------------------------------------------------------------------------

    def embed(self, table: CpuWeight) -> _native.Activation:
        """See `Ops`."""
        return self._program.embed(_one(table))

    def wanted_rows(self, x: _native.Activation) -> _native.Activation:
        """See `Ops`. A copy."""
        return self._program.wanted_rows(x)

    def rms_norm(self, x: _native.Activation, weight: CpuWeight, eps: float) -> _native.Activation:
        """See `Ops`. Writes int8 as well where a consumer takes it."""
        return self._program.rms_norm(x, _vector(weight), eps)

    def linear(
        self, x: _native.Activation, weight: CpuWeight, residual: _native.Activation | None = None
    ) -> _native.Activation:
        """See `Ops`. Adds in place when nothing else reads the residual later."""
        return self._program.linear(x, weight.parts, residual)

    def rope_and_store(self, qkv: _native.Activation, layer: int) -> _native.Activation:
        """See `Ops`. The result is the first columns of `qkv`, in place."""
        return self._program.rope_and_store(qkv, layer)

    def paged_attention(self, q: _native.Activation, layer: int) -> _native.Activation:
        """See `Ops`."""
        return self._program.paged_attention(q, layer)

    def gated_mlp(
        self,
        x: _native.Activation,
        gate_up: CpuWeight,
        down: CpuWeight,
        residual: _native.Activation,
        *,
        precise: bool = False,
    ) -> _native.Activation:
        """See `Ops`. Two operations: the gated half, and the product back with the residual.

        `precise` gives the int8 activations a second plane, 16 bits in all.
        """
        gate, up = gate_up.parts
        return self._program.gated_mlp(x, gate, up, down.parts, residual, precise)

    def logits(
        self, x: _native.Activation, norm: CpuWeight, eps: float, lm_head: CpuWeight
    ) -> _native.Activation:
        """See `Ops`."""
        return self._program.logits(x, _vector(norm), eps, lm_head.parts)

    def compile(self, forward: Callable[[], _native.Activation]) -> StepFunction:
        """See `Ops`. Records `forward` once; the step function replays it without Python."""
        self._program.compile(forward())
        run = self._program.run

        def step(batch: Batch) -> Logits:
            logits = run(*_arrays(batch))
            if logits is None:
                raise StepCut
            return logits

        return step

    def set_cut(self, cut: bool) -> None:
        """See `Ops`."""
        self._program.set_cut(cut)

    # --- beyond the forward pass ----------------------------------------------------------------

    def copy_block(self, source: int, target: int) -> None:
        """See `Ops`."""
        self._cache.copy_block(source, target)

    def give_back(self, blocks: Sequence[int]) -> None:
        """See `Ops`."""
        self._cache.give_back(blocks)

    def read_block(self, block: int) -> bytes:
        """See `Ops`."""
        out = np.empty(self._cache.block_bytes, dtype=np.uint8)
        self._cache.read_block(block, out)
        return out.tobytes()

    def write_block(self, block: int, data: bytes) -> None:
        """See `Ops`."""
        self._cache.write_block(block, np.frombuffer(data, dtype=np.uint8))

    @property
    def block_bytes(self) -> int:
        """See `Ops`."""
        return self._cache.block_bytes

    def save_block(self, block: int, file: int, offset: int) -> int:
        """See `Ops`."""
        return self._cache.save_block(block, file, offset)

    def load_block(self, block: int, file: int, offset: int) -> int:
        """See `Ops`."""
        return self._cache.load_block(block, file, offset)

    def identity(self) -> bytes:
        """See `Ops`: weights, rotary frequencies, cache, kernels, instruction set, C library."""
        return self._identity.digest()

    def profile(self, batch: Batch) -> list[tuple[str, float]]:
        """Runs a step one operation at a time: (operation, seconds), in order."""
        return self._program.profile(*_arrays(batch))


def _arrays(batch: Batch) -> tuple[Int32Array, ...]:
    return (
        batch.token_ids,
        batch.positions,
        batch.query_start,
        batch.context_len,
        batch.block_tables,
        batch.logits_rows,
    )


def _one(weight: CpuWeight) -> _native.PackedWeight:
    (part,) = weight.parts
    return part


def _vector(weight: CpuWeight) -> npt.NDArray[np.float32]:
    if weight.vector is None:
        raise ValueError("a norm takes a vector, not a matrix")
    return weight.vector


def _float32(raw: RawTensor) -> npt.NDArray[np.float32]:
    if raw.storage is StorageType.F32:
        return raw.data.view(np.float32).copy()
    if raw.storage is StorageType.F16:
        return raw.data.view(np.float16).astype(np.float32)
    if raw.storage is StorageType.BF16:
        return (raw.data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    raise ValueError(f"tensor {raw.name} is stored as {raw.storage}, but a vector must be floats")
