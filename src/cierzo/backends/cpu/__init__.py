"""The CPU: native kernels, a recorded step, a thread pool."""

from cierzo.backends.cpu.backend import CpuBackend

__all__ = ["CpuBackend"]
