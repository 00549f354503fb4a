"""What a reader finds in a checkpoint, before it is checked as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from cierzo.backends.tensor import RawTensor
from cierzo.model.config import ModelConfig
from cierzo.model.readers.mapped_file import MappedFile

Format: TypeAlias = Literal["gguf", "safetensors", "mistral"]


@dataclass(frozen=True)
class TokenizerSource:
    """What `chat` needs to build the tokenizer and the chat template."""

    kind: Literal["tekken", "tokenizer.json", "gguf"]
    path: Path  # tekken.json, tokenizer.json, or the GGUF file
    chat_template: str | None  # Jinja source, if the checkpoint has one
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    add_bos: bool
    # GGUF: the keys tokenizer.ggml.*; lists of strings are sequences decoded on use, lists of
    # numbers are numpy arrays. Otherwise: tokenizer_config.json's, if there is one.
    metadata: Mapping[str, object]


@dataclass(frozen=True)
class Contents:
    """Config, weights under Hugging Face's names, and tokenizer of one checkpoint."""

    config: ModelConfig
    tensors: Mapping[str, RawTensor]
    tokenizer: TokenizerSource
    format: Format
    config_file: Path  # where the sizes stand
    files: Mapping[Path, MappedFile]  # those that hold tensors
