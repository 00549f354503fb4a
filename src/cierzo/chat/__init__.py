"""Messages to tokens and back: tokenizers, templates, incremental detokenization."""
