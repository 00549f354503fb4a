"""Things several rooms' tests build on: small checkpoints in every layout, their tokenizers."""
