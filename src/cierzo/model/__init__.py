"""Checkpoints and the transformer: config, readers, and the forward pass over `Ops`."""
