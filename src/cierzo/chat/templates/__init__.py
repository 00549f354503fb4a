"""A conversation to a prompt: Mistral's own encoding, or a checkpoint's Jinja template."""
