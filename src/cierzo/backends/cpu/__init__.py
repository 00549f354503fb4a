"""The CPU: native kernels, a recorded step, a thread pool."""
