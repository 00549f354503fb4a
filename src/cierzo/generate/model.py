"""The model as an ask is prepared for it: how it reads and writes, and what its engine can take."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from cierzo.chat.recent import MOST_BYTES, Recent
from cierzo.chat.templates.load import load_chat_template
from cierzo.chat.templates.template import ChatTemplate
from cierzo.chat.tokenizers.load import load_tokenizer
from cierzo.chat.tokenizers.tokenizer import Tokenizer, token_bytes_of
from cierzo.grammar.schema import DEFAULT_LIMITS, SchemaLimits
from cierzo.grammar.vocabulary import TokenBytes
from cierzo.model.readers.contents import TokenizerSource


@dataclass(frozen=True)
class Language:
    """How one model reads and writes. Safe to use from several threads at once."""

    tokenizer: Tokenizer
    template: ChatTemplate
    chat_template: str | None = None  # the checkpoint's own, in Jinja
    recent: Recent = field(default_factory=Recent, compare=False)  # of conversations

    @cached_property
    def vocabulary(self) -> TokenBytes:
        """The tokens as grammars need them, and as they travel to the engine."""
        return token_bytes_of(self.tokenizer)

    @cached_property
    def max_token_bytes(self) -> int:
        """Of the longest token. It bounds the text that can fit into a context."""
        return max(map(len, self.vocabulary.tokens))


@dataclass(frozen=True)
class Model:
    """One model that is being served."""

    language: Language
    max_model_len: int  # tokens of prompt and answer together
    vocab_size: int
    schema_limits: SchemaLimits = DEFAULT_LIMITS


def read_language(source: TokenizerSource, *, remembers: bool = True) -> Language:
    """The language of a checkpoint; `remembers`: the tokens of what conversations lately said.

    Raises ModelError for files that are damaged.
    """
    tokenizer = load_tokenizer(source)
    template = load_chat_template(source, tokenizer)
    recent = Recent(MOST_BYTES if remembers else 0)
    return Language(tokenizer, template, source.chat_template, recent)
