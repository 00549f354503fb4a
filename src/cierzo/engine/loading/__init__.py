"""From a checkpoint to a running engine: what fits into memory, and the order of loading."""
