"""Templates of every kind, with the tokenizer that they are for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cierzo.chat.templates.load import load_chat_template
from cierzo.chat.templates.template import ChatTemplate
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer
from tests.chat.templates.test_mistral_template import tekken_of
from tests.chat.vocabularies import gguf_source, tekken_source


def loaded(name: str, templates: Mapping[str, str], folder: Path) -> tuple[ChatTemplate, Tokenizer]:
    """One of these Jinja templates, or a version of Mistral's format."""
    if name in templates:
        source = gguf_source("llama-bpe", template=templates[name])
    else:
        path = folder / "tekken.json"
        path.write_text(tekken_of(name))
        source = tekken_source(path)
    tokenizer = load_tokenizer(source)
    return load_chat_template(source, tokenizer), tokenizer
