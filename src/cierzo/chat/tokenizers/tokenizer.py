"""The Tokenizer protocol: text to tokens and back, the same for every kind of vocabulary."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from cierzo.chat.recent import RecentOf
from cierzo.grammar.vocabulary import EncoderKind, TokenBytes


class Tokenizer(Protocol):
    """A vocabulary. Safe to use from several threads at once."""

    def __hash__(self) -> int: ...

    @property
    def vocab_size(self) -> int:
        """Number of tokens, control tokens included; every id is below it."""

    @property
    def bos_token_id(self) -> int | None: ...

    @property
    def eos_token_ids(self) -> tuple[int, ...]: ...

    @property
    def adds_bos(self) -> bool:
        """Whether the model was trained on plain text that begins with the BOS token."""

    @property
    def drops_leading_space(self) -> bool:
        """Whether it puts a space before every text, and takes it away in decoding."""

    @property
    def control_tokens(self) -> Mapping[str, int]:
        """Spelling and id of every token that no text ever becomes."""

    @property
    def added_tokens(self) -> Mapping[str, int]:
        """Spelling and id of whole words outside the byte-pair vocabulary that text may become."""

    @property
    def encoder(self) -> tuple[EncoderKind, str]:
        """How another process builds `encode`: `encoder` and `data` of `TokenBytes`."""

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        """The tokens of a text. It never becomes a control token, whatever it spells."""

    def encode_segments(
        self, segments: Iterable[str | int], recent: RecentOf | None = None
    ) -> array[int]:
        """The tokens of texts with token ids between them, as int32; ids stand for themselves.

        Equal to encoding one string in which the ids are spelled out and recognised. Two texts in
        a row are encoded apart, so no token spans both. Texts that are among `recent` are not
        encoded again, and those that are not come to it.
        """

    def decode(self, ids: Sequence[int], *, skip_control: bool = True) -> str:
        """The text of tokens. Bytes that are not UTF-8 become U+FFFD, unknown ids nothing."""

    def token_bytes(self, token_id: int) -> bytes:
        """What a token stands for; a control token's spelling; nothing for an unknown id."""

    def is_control(self, token_id: int) -> bool:
        """Whether it is a control token: left out of text."""


def decode_tokens(tokenizer: Tokenizer, ids: Sequence[int], skip_control: bool) -> str:
    """`Tokenizer.decode` in terms of the token's bytes."""
    data = b"".join(
        tokenizer.token_bytes(i) for i in ids if not (skip_control and tokenizer.is_control(i))
    )
    if tokenizer.drops_leading_space:
        data = data.removeprefix(b" ")
    return data.decode("utf-8", "replace")


def token_bytes_of(tokenizer: Tokenizer) -> TokenBytes:
    """The vocabulary in the form that grammars need, and that travels to the engine."""
    kind, data = tokenizer.encoder
    ids = range(tokenizer.vocab_size)
    return TokenBytes(
        tokens=tuple(map(tokenizer.token_bytes, ids)),
        control=tuple(i for i in ids if tokenizer.is_control(i)),
        eos=tokenizer.eos_token_ids,
        encoder=kind,
        data=data,
    )


def without_surrogates(text: str) -> str:
    """The text with halves of surrogate pairs, which JSON can spell but UTF-8 cannot, as U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
