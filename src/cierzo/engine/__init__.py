"""Sequences, scheduler, paged KV cache, sampler, and the engine process with its client."""
