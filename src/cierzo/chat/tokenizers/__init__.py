"""Text to tokens and back: Tekken, Hugging Face's tokenizers, vocabularies inside GGUF files."""
