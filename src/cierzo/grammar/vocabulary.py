"""The tokens of a model as grammars need them: their bytes, and how text is cut into them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import llguidance

Encode: TypeAlias = Callable[[str], list[int]]
EncoderKind: TypeAlias = Literal["tiktoken", "tokenizers", ""]
TokenMask: TypeAlias = npt.NDArray[np.uint32]  # [words]: a bit for each token, lowest bit first

WHITE_SPACE = b" \t\n\r\v\f"  # what clients trim from texts, and `Constraint.trims` is about


class TokenBytes(msgspec.Struct, frozen=True):
    """What another process needs to build a `Vocabulary`.

    `encoder` says how text becomes tokens: "tiktoken" (`data` is the pattern that cuts words; ids
    of words follow those of the `control` tokens, in order of rank), "tokenizers" (`data` is a
    tokenizer.json), or "" where no encoder takes text from the middle of an answer.
    """

    tokens: tuple[bytes, ...]  # by id
    control: tuple[int, ...]  # ids that no text becomes
    eos: tuple[int, ...]
    encoder: EncoderKind
    data: str = ""


class Vocabulary:
    """A model's tokens for masks. To `build` one takes half a second for 131,072 tokens."""

    def __init__(self, source: TokenBytes, vocab_size: int) -> None:
        """`vocab_size` is the width of the model's logits; tokens beyond the source's are never
        allowed."""
        self.tokens = source.tokens
        self.control = frozenset(source.control)
        self.vocab_size = vocab_size
        # Forced text is appended only in the tokens that the model would have read it in.
        self.forces = source.encoder != ""
        self._source = source

    def build(self) -> Vocabulary:
        """Does now what would be done when it is first needed, while answers wait. Itself."""
        _ = self.llguidance, self.encode, self.starting_in_space
        return self

    @cached_property
    def llguidance(self) -> llguidance.LLTokenizer:
        """The trie of the tokens."""
        import llguidance  # late: an engine is started without it

        wrapped = llguidance.TokenizerWrapper(_Wrapped(self._source, self.encode, self.vocab_size))
        return llguidance.LLTokenizer(
            wrapped, n_vocab=self.vocab_size, eos_token=list(self._source.eos)
        )

    @property
    def num_words(self) -> int:
        """Words of a mask."""
        return -(-self.vocab_size // 32)

    @cached_property
    def encode(self) -> Encode:
        """Text to tokens, as the model's own tokenizer does it."""
        source = self._source
        if source.encoder == "tiktoken":
            return _tiktoken(source)
        if source.encoder == "tokenizers":
            return _tokenizers(source)
        return _longest_first(source)

    def bytes_of(self, token_ids: Sequence[int]) -> bytes:
        """What tokens stand for as text; control tokens have none."""
        tokens, control = self.tokens, self.control
        return b"".join(tokens[i] for i in token_ids if i < len(tokens) and i not in control)

    def ends_in_space(self, token_id: int) -> bool:
        """Whether it is a text that ends in white space."""
        return token_id < len(self.tokens) and self.bytes_of((token_id,))[-1:] in _SPACES

    def may_be_trimmed(self, token_id: int) -> bool:
        """Whether a text may end before it: it ends in white space, or is the end itself."""
        return token_id in self.control or self.ends_in_space(token_id)

    @cached_property
    def starting_in_space(self) -> TokenMask:
        """Tokens of text that begin with white space."""
        ids = [
            i for i, data in enumerate(self.tokens) if data[:1] in _SPACES and i not in self.control
        ]
        bits = np.zeros(self.num_words * 32, dtype=np.uint8)
        bits[ids] = 1
        mask: TokenMask = np.packbits(bits, bitorder="little").view(np.uint32)
        return mask


_SPACES = frozenset(bytes([byte]) for byte in WHITE_SPACE)


class _Wrapped:
    """A vocabulary in the form that llguidance asks for."""

    def __init__(self, source: TokenBytes, encode: Encode, vocab_size: int) -> None:
        self.eos_token_id = source.eos[0]
        self.bos_token_id = None
        self.tokens = list(source.tokens[:vocab_size])
        self.tokens += [b""] * (vocab_size - len(self.tokens))
        self.special_token_ids = list(source.control)
        self._encode = encode

    def __call__(self, text: bytes | str) -> list[int]:
        return self._encode(text.decode() if isinstance(text, bytes) else text)


def _tiktoken(source: TokenBytes) -> Encode:
    import tiktoken

    first = len(source.control)
    ranks = {data: first + rank for rank, data in enumerate(source.tokens[first:])}
    encoding = tiktoken.Encoding(
        "vocabulary", pat_str=source.data, mergeable_ranks=ranks, special_tokens={}
    )
    return lambda text: encoding.encode(text, disallowed_special=())


def _tokenizers(source: TokenBytes) -> Encode:
    import tokenizers

    pipeline: Any = tokenizers.Tokenizer.from_str(source.data)
    return lambda text: list(pipeline.encode(text, add_special_tokens=False).ids)


def _longest_first(source: TokenBytes) -> Encode:
    """Not the model's own way: only for grammars' inner needs, never for tokens of an answer."""
    control = set(source.control)
    ids = {data: i for i, data in enumerate(source.tokens) if data and i not in control}
    longest = max(map(len, ids), default=0)

    def encode(text: str) -> list[int]:
        data, found = text.encode(), []
        while data:
            end = next((n for n in range(min(longest, len(data)), 0, -1) if data[:n] in ids), 0)
            if end == 0:
                break
            found.append(ids[data[:end]])
            data = data[end:]
        return found

    return encode
