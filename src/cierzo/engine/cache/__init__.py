"""The KV cache: its blocks, and the tree of what they hold, which later requests begin from."""
