"""Tokenizers that run on Hugging Face's `tokenizers`: from tokenizer.json, or built from a GGUF.

The library finds control tokens in any text. Here it does not know their spellings: each is
registered under a private one that no text contains, and only `encode_segments` writes those.
"""

from __future__ import annotations

import json
import secrets
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tokenizers
from tokenizers import AddedToken

from cierzo.chat.recent import RecentOf
from cierzo.chat.tokenizers.byte_letters import byte_level_bytes, sentencepiece_bytes
from cierzo.chat.tokenizers.tokenizer import decode_tokens, without_surrogates
from cierzo.chat.tokenizers.vocabulary_files import TOKENIZER_JSON, load
from cierzo.grammar.vocabulary import EncoderKind
from cierzo.model.errors import ModelError
from cierzo.model.readers.contents import TokenizerSource

# Unicode's noncharacters, which are for such internal use, around a number that nobody can guess.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_BREAK = -1  # in place of an id: the boundary between two texts
# Pre-tokenizers that look at one text alone.
_PLAIN_STEPS = frozenset({"ByteLevel", "Digits", "Split"})


@dataclass(frozen=True)
class Added:
    """A token that is matched as a whole word: its id, spelling, and whether it is control."""

    id: int
    token: AddedToken
    control: bool


@dataclass(frozen=True)
class Decoding:
    """How the pieces of a vocabulary become bytes."""

    piece_bytes: Callable[[str], bytes]
    drops_leading_space: bool


class HfTokenizer:
    """A `tokenizers` pipeline with control tokens out of reach of text."""

    def __init__(
        self,
        pipeline: tokenizers.Tokenizer,
        added: Sequence[Added],
        decoding: Decoding,
        *,
        bos_token_id: int | None,
        eos_token_ids: tuple[int, ...],
        adds_bos: bool,
    ) -> None:
        """`pipeline` has model, normalizer and pre-tokenizer, and no added tokens yet."""
        self._pipeline = pipeline
        self._added = {entry.id: entry for entry in added}
        self._decoding = decoding
        self._bytes: dict[int, bytes] = {}
        self.bos_token_id = bos_token_id
        self.eos_token_ids = eos_token_ids
        self.adds_bos = adds_bos
        self.drops_leading_space = decoding.drops_leading_space
        self._control_ids = frozenset(entry.id for entry in added if entry.control)
        # Of two tokens with one spelling, the first is the one it stands for.
        first = {entry.token.content: entry for entry in reversed(added)}
        self.control_tokens: Mapping[str, int] = {
            text: entry.id for text, entry in first.items() if entry.control
        }
        self.added_tokens: Mapping[str, int] = {
            text: entry.id for text, entry in first.items() if not entry.control
        }
        self.vocab_size = max([pipeline.get_vocab_size(), *(entry.id + 1 for entry in added)])
        self._encodes_apart = _encodes_apart(pipeline, added)

        nonce = secrets.token_hex(8)
        self._private = {_BREAK: f"{_OPEN}{nonce}{_CLOSE}"}
        for entry in added:
            self._private[entry.id] = f"{_OPEN}{nonce}{entry.id:x}{_CLOSE}"
        registered = [AddedToken(self._private[_BREAK], normalized=False)]
        registered += [_copy(e.token, self._private[e.id], normalized=False) for e in added]
        natives = [_copy(first[text].token, text) for text in self.added_tokens]
        pipeline.add_tokens(natives + registered)
        ids = {id_: pipeline.token_to_id(private) for id_, private in self._private.items()}
        self._real = {ours: id_ for id_, ours in ids.items()}
        self._real |= {pipeline.token_to_id(text): i for text, i in self.added_tokens.items()}

    @property
    def encoder(self) -> tuple[EncoderKind, str]:
        # Such a vocabulary cannot encode a text that goes on with another.
        if self.drops_leading_space:
            return "", ""
        text = self._pipeline.to_str()
        if self.added_tokens:
            text = _with_words(text, self.added_tokens)
            public = tokenizers.Tokenizer.from_str(text)
            if any(public.token_to_id(word) != i for word, i in self.added_tokens.items()):
                return "", ""
        return "tokenizers", text

    def encode(self, text: str, *, add_bos: bool = False) -> list[int]:
        ids = self._encode(without_surrogates(text))
        if add_bos and self.bos_token_id is not None:
            ids.insert(0, self.bos_token_id)
        return ids

    def encode_segments(
        self, segments: Iterable[str | int], recent: RecentOf | None = None
    ) -> array[int]:
        if recent is None or not self._encodes_apart:
            return array("i", self._encode(self._spelled(segments)))
        parts = list(segments)
        known = self._encoded({part for part in parts if isinstance(part, str)}, recent)
        ids = array("i")
        for part in parts:
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += known[part]
        return ids

    def _encoded(self, texts: Collection[str], recent: RecentOf) -> dict[str, array[int]]:
        """The tokens of texts, each by itself. Those that are not known go through together."""
        known: dict[str, array[int]] = {}
        missing: list[str] = []
        for text in texts:
            found = recent.get(text)
            if found is None:
                missing.append(text)
            else:
                known[text] = found
        if missing:
            ids = self._ids(self._spelled(missing))
            start = 0
            for text in missing:
                end = ids.index(_BREAK, start) if text is not missing[-1] else len(ids)
                known[text] = encoded = array("i", ids[start:end])
                recent.put((text,), encoded, (text,))
                start = end + 1
        return known

    def _spelled(self, segments: Iterable[str | int]) -> str:
        """One text of segments, with the private spellings of ids and of boundaries."""
        spelled: list[str] = []
        after_text = False
        for segment in segments:
            if isinstance(segment, int):
                spelled.append(self._private[segment])
            else:
                if after_text:
                    spelled.append(self._private[_BREAK])
                spelled.append(without_surrogates(segment))
            after_text = isinstance(segment, str)
        return "".join(spelled)

    def decode(self, ids: Sequence[int], *, skip_control: bool = True) -> str:
        return decode_tokens(self, ids, skip_control)

    def token_bytes(self, token_id: int) -> bytes:
        found = self._bytes.get(token_id)
        if found is None:
            found = self._bytes[token_id] = self._read_bytes(token_id)
        return found

    def is_control(self, token_id: int) -> bool:
        return token_id in self._control_ids

    @cached_property
    def _forbidden(self) -> frozenset[int]:
        """Control tokens that the model itself must not produce; `unk` is what it says for gaps."""
        unknown = getattr(self._pipeline.model, "unk_token", None)
        return self._control_ids - {self.control_tokens.get(unknown or "", _BREAK)}

    def _encode(self, text: str) -> list[int]:
        return [i for i in self._ids(text) if i != _BREAK]

    def _ids(self, text: str) -> list[int]:
        """The tokens of a text with private spellings in it, and where its boundaries are."""
        # The batch call for one text is half again as fast: it keeps no offsets.
        ids = self._pipeline.encode_batch_fast([text], add_special_tokens=False)[0].ids
        if not self._forbidden.isdisjoint(ids):
            ids = self._spell_out(ids)
        real = self._real
        return [real.get(i, i) for i in ids]

    def _spell_out(self, ids: list[int]) -> list[int]:
        """A vocabulary that holds control tokens as words may find one whole: take it apart."""
        parts: list[int] = []
        for i in ids:
            if i in self._forbidden:
                for letter in self._added[i].token.content:
                    parts += self._pipeline.encode(letter, add_special_tokens=False).ids
            else:
                parts.append(i)
        return [i for i in parts if i not in self._forbidden]

    def _read_bytes(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self._added[token_id].token.content.encode("utf-8", "replace")
        if not 0 <= token_id < self.vocab_size or token_id in self._real:
            return b""
        piece = self._pipeline.id_to_token(token_id)
        return b"" if piece is None else self._decoding.piece_bytes(piece)


def from_file(source: TokenizerSource) -> HfTokenizer:
    """The tokenizer of a tokenizer.json. Its truncation, padding and post-processing stay out."""
    full = load(source, TOKENIZER_JSON, tokenizers.Tokenizer.from_file)
    added = [Added(i, t, t.special) for i, t in full.get_added_tokens_decoder().items()]
    decoding = _decoding(full, source)
    adds_bos = source.add_bos
    if "add_bos_token" not in source.metadata:
        adds_bos = full.encode("").ids[:1] == [source.bos_token_id]
    pipeline = tokenizers.Tokenizer(full.model)
    if full.normalizer is not None:
        pipeline.normalizer = full.normalizer
    if full.pre_tokenizer is not None:
        pipeline.pre_tokenizer = full.pre_tokenizer
    return HfTokenizer(
        pipeline,
        added,
        decoding,
        bos_token_id=source.bos_token_id,
        eos_token_ids=source.eos_token_ids,
        adds_bos=adds_bos,
    )


def _encodes_apart(pipeline: tokenizers.Tokenizer, added: Iterable[Added]) -> bool:
    """Whether a text between two tokens becomes the same whatever is around them.

    Some tokens take the spaces beside them, and some vocabularies treat the first text in a way of
    its own.
    """
    if any(e.token.lstrip or e.token.rstrip or e.token.single_word for e in added):
        return False
    state = json.loads(pipeline.pre_tokenizer.__getstate__()) if pipeline.pre_tokenizer else {}
    steps = state["pretokenizers"] if state.get("type") == "Sequence" else [state]
    return pipeline.normalizer is None and {step.get("type") for step in steps} <= _PLAIN_STEPS


def _with_words(pipeline: str, words: Mapping[str, int]) -> str:
    """A pipeline as JSON, its private tokens taken out, and words at their own ids."""
    state: dict[str, Any] = json.loads(pipeline)
    state["added_tokens"] = [
        token | {"id": words[token["content"]]}
        for token in state["added_tokens"]
        if token["content"] in words
    ]
    vocabulary = state["model"]["vocab"]
    if isinstance(vocabulary, dict):
        ids = set(words.values())
        kept = {piece: i for piece, i in vocabulary.items() if i not in ids}
        state["model"]["vocab"] = kept | dict(words)
    return json.dumps(state)


def _copy(token: AddedToken, content: str, *, normalized: bool | None = None) -> AddedToken:
    return AddedToken(
        content,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=token.normalized if normalized is None else normalized,
    )


def _decoding(full: tokenizers.Tokenizer, source: TokenizerSource) -> Decoding:
    """What the file's decoder does to each piece, from its description in JSON."""
    state = json.loads(full.decoder.__getstate__()) if full.decoder is not None else {}
    steps: list[dict[str, Any]] = state["decoders"] if state.get("type") == "Sequence" else [state]
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        return Decoding(byte_level_bytes, drops_leading_space=False)
    if not set(kinds) - {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}:
        drops = any(
            step["start"] > 0 if step["type"] == "Strip" else step["prepend_scheme"] != "never"
            for step in steps
            if step["type"] in ("Strip", "Metaspace")
        )
        return Decoding(sentencepiece_bytes, drops_leading_space=drops)
    raise ModelError(
        f"{source.path}: its decoder {'+'.join(map(str, kinds))} is not supported; Cierzo reads "
        "byte-level and sentencepiece-style vocabularies"
    )
