"""Blocks of the KV cache on disk: written behind, read ahead, verified, bounded."""
