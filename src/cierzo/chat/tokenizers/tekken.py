"""Mistral's Tekken through mistral-common, from tekken.json or from the vocabulary of a GGUF."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence

import tiktoken
from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.tekken import SpecialTokenInfo, Tekkenizer, TokenInfo

from cierzo.chat.recent import RecentOf
from cierzo.chat.tokenizers.byte_letters import BYTE_OF_LETTER
from cierzo.chat.tokenizers.tekken_pattern import TEKKEN_PATTERN
from cierzo.chat.tokenizers.tokenizer import decode_tokens, without_surrogates
from cierzo.chat.tokenizers.vocabulary_files import TEKKEN_JSON, load
from cierzo.grammar.vocabulary import EncoderKind
from cierzo.model.readers.contents import TokenizerSource

_TRIAL = "A b1\n'\u00e9 \U0001f600"


class _QuickTekkenizer(Tekkenizer):
    """A Tekkenizer that loads faster, and takes any text.

    The base class spells each of its 131,072 tokens at start, in a general and slow way; and
    tiktoken's regular expressions give up on some hundred thousand spaces in a row.
    """

    def id_to_piece(self, token_id: int) -> str:
        offset = token_id - len(self._all_special_tokens)
        if offset < 0:
            return str(self._all_special_tokens[token_id]["token_str"])
        return self._model.decode_single_token_bytes(offset).decode("utf-8", "replace")

    def encode(self, s: str, bos: bool, eos: bool) -> list[int]:
        try:
            found = self._model.encode(s)
        except ValueError:
            found = self._model._encode_only_native_bpe(s)
        first = self.num_special_tokens
        return [self.bos_id] * bos + [i + first for i in found] + [self.eos_id] * eos


class TekkenTokenizer:
    """A Tekkenizer behind the Tokenizer protocol: control tokens first, then bytes and merges."""

    drops_leading_space = False

    def __init__(
        self,
        tekkenizer: Tekkenizer,
        *,
        bos_token_id: int,
        eos_token_ids: tuple[int, ...],
        adds_bos: bool,
    ) -> None:
        self.tekkenizer = tekkenizer
        self.vocab_size = tekkenizer.n_words
        self.bos_token_id: int | None = bos_token_id
        self.eos_token_ids = eos_token_ids
        self.adds_bos = adds_bos
        self.added_tokens: Mapping[str, int] = {}
        self.control_tokens: Mapping[str, int] = {
            tekkenizer.id_to_piece(i): i for i in range(tekkenizer.num_special_tokens)
        }
        self._model: tiktoken.Encoding = tekkenizer._model
        self._num_control = tekkenizer.num_special_tokens

    @property
    def encoder(self) -> tuple[EncoderKind, str]:
        return "tiktoken", self._model._pat_str

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        ids = self.tekkenizer.encode(without_surrogates(text), bos=False, eos=False)
        if add_bos and self.bos_token_id is not None:
            ids.insert(0, self.bos_token_id)
        return ids

    def encode_segments(
        self, segments: Iterable[str | int], recent: RecentOf | None = None
    ) -> array[int]:
        ids = array("i")
        for segment in segments:
            if isinstance(segment, int):
                ids.append(segment)
            else:
                ids += self._encoded(segment, recent)
        return ids

    def _encoded(self, text: str, recent: RecentOf | None) -> array[int]:
        found = recent.get(text) if recent is not None else None
        if found is None:
            found = array("i", self.encode(text))
            if recent is not None:
                recent.put((text,), found, (text,))
        return found

    def decode(self, ids: Sequence[int], *, skip_control: bool = True) -> str:
        return decode_tokens(self, ids, skip_control)

    def token_bytes(self, token_id: int) -> bytes:
        if not 0 <= token_id < self.vocab_size:
            return b""
        if token_id < self._num_control:
            return self.tekkenizer.id_to_piece(token_id).encode()
        return self._model.decode_single_token_bytes(token_id - self._num_control)

    def is_control(self, token_id: int) -> bool:
        return 0 <= token_id < self._num_control


def from_file(source: TokenizerSource) -> TekkenTokenizer:
    """The tokenizer of a tekken.json. Raises ModelError for a file that is none."""
    tekkenizer = load(source, TEKKEN_JSON, _read)
    return _tokenizer(tekkenizer, source)


def _read(path: str) -> Tekkenizer:
    """mistral-common's reading, and a trial: it meets its control tokens and its pattern later."""
    tekkenizer = _QuickTekkenizer.from_file(path)
    tekkenizer.encode(_TRIAL, bos=True, eos=True)
    return tekkenizer


def from_gguf(
    source: TokenizerSource, tokens: Sequence[str], is_control: Callable[[int], bool]
) -> TekkenTokenizer | None:
    """The Tekken that a GGUF holds: control tokens first, then 256 bytes, then words by rank.

    None if the vocabulary has another shape, as fine-tuned models with tokens of their own do.
    """
    num_control = next((i for i in range(len(tokens)) if not is_control(i)), len(tokens))
    control = tokens[:num_control]
    try:
        words = [bytes([BYTE_OF_LETTER[c] for c in token]) for token in tokens[num_control:]]
    except KeyError:
        return None
    in_order = words[:256] == [bytes([b]) for b in range(256)]
    distinct = len(set(words)) == len(words) and len(set(control)) == num_control
    known = {"<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]"} <= set(control)
    if not (in_order and distinct and known):
        return None
    tekkenizer = _QuickTekkenizer(
        vocab=[
            TokenInfo(rank=i, token_bytes=base64.b64encode(word).decode(), token_str=None)
            for i, word in enumerate(words)
        ],
        special_tokens=[
            SpecialTokenInfo(rank=i, token_str=text, is_control=True)
            for i, text in enumerate(control)
        ],
        pattern=TEKKEN_PATTERN,
        vocab_size=len(tokens),
        num_special_tokens=num_control,
        version=_version(set(control), source.chat_template),
        name=source.path.stem,
    )
    return _tokenizer(tekkenizer, source)


def _tokenizer(tekkenizer: Tekkenizer, source: TokenizerSource) -> TekkenTokenizer:
    bos = source.bos_token_id
    return TekkenTokenizer(
        tekkenizer,
        bos_token_id=tekkenizer.bos_id if bos is None else bos,
        eos_token_ids=source.eos_token_ids or (tekkenizer.eos_id,),
        adds_bos=source.add_bos,
    )


def _version(control: set[str], template: str | None) -> TokenizerVersion:
    """The chat format's version, which no GGUF states, from what came with each.

    v7 brought [SYSTEM_PROMPT] into use, v11 [ARGS], v13 left [CALL_ID] out of what is written.
    """
    if "[ARGS]" in control:
        return TokenizerVersion.v11 if "[CALL_ID]" in (template or "") else TokenizerVersion.v13
    if "[SYSTEM_PROMPT]" in control and "[SYSTEM_PROMPT]" in (template or "[SYSTEM_PROMPT]"):
        return TokenizerVersion.v7
    return TokenizerVersion.v3
