"""The tokenizer of a checkpoint, whatever kind its vocabulary is."""

from __future__ import annotations

from cierzo.chat.tokenizers.tokenizer import Tokenizer
from cierzo.model.readers.contents import TokenizerSource


def load_tokenizer(source: TokenizerSource) -> Tokenizer:
    """The tokenizer of a checkpoint. Libraries are imported only for the kind that needs them.

    Raises ModelError, naming the file, for a vocabulary that is damaged or of an unknown kind.
    """
    if source.kind == "tekken":
        from cierzo.chat.tokenizers import tekken

        return tekken.from_file(source)
    if source.kind == "gguf":
        from cierzo.chat.tokenizers import gguf

        return gguf.from_metadata(source)
    from cierzo.chat.tokenizers import hf

    return hf.from_file(source)
