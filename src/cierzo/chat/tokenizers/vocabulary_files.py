"""Checks of tokenizer.json and tekken.json before the libraries read them.

Those trust the file: a number in it is how much they allocate, and a list where they expect an
object is an error of any kind, or a panic. Only what is read of a file is looked at here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta, Struct
from msgspec.json import Decoder

from cierzo.grammar.errors import one_line
from cierzo.model.errors import ModelError
from cierzo.model.readers.contents import TokenizerSource
from cierzo.model.readers.fields import read_bounded

_FILE_BYTES = 256 << 20  # the largest in use has 33 MB
_TOKENS = 1 << 21  # as for a model's vocab_size

Id = Annotated[int, Meta(ge=0, lt=_TOKENS)]
Read = TypeVar("Read")


class _AddedToken(Struct):
    id: Id
    content: str


class _Model(Struct):
    vocab: dict[str, Id] | list[Any]  # a list: pieces with their scores, in order
    # BERT's. The library ends the process where a merge lacks it; no vocabulary we decode has it.
    continuing_subword_prefix: Literal[""] | None = None


class _TokenizerJson(Struct):
    """tokenizer.json, of Hugging Face's `tokenizers`."""

    model: _Model
    added_tokens: list[_AddedToken] = []


TOKENIZER_JSON = Decoder(_TokenizerJson)


class _TekkenConfig(Struct):
    pattern: Annotated[str, Meta(min_length=1)]
    default_vocab_size: Id
    default_num_special_tokens: Id
    version: str


class _Word(Struct):
    rank: Id
    token_bytes: str
    token_str: str | None


class _SpecialToken(Struct):
    rank: Id
    token_str: str


class _TekkenJson(Struct):
    """tekken.json, of mistral-common."""

    config: _TekkenConfig
    vocab: list[_Word]
    special_tokens: list[_SpecialToken] | None = None


TEKKEN_JSON = Decoder(_TekkenJson)


def load(source: TokenizerSource, form: Decoder[Any], read: Callable[[str], Read]) -> Read:
    """What `read` makes of the source's path, once the file has that form.

    Raises ModelError, with the file's name and the reason, for one that lacks it or that the
    library cannot read after all.
    """
    path = source.path
    try:
        form.decode(read_bounded(path, _FILE_BYTES))
        return read(str(path))
    except (ModelError, KeyboardInterrupt, SystemExit):
        raise
    # Libraries check with assert, read keys that may not be there, and those in Rust panic, which
    # is no Exception.
    except BaseException as error:
        detail = one_line(error, 200)
        raise ModelError(
            f"{path}: not a {path.name} that can be read ({type(error).__name__}: {detail}); "
            "download it again"
        ) from error
