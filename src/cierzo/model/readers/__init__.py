"""A model's files opened: GGUF, Hugging Face's and Mistral's folders, read as one Checkpoint."""
