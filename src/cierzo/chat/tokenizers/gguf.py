"""The byte-pair vocabulary inside a GGUF file, as Hugging Face's `tokenizers` or Mistral's Tekken.

The patterns that cut text into words stand in no GGUF: the file only names them. They are those of
the models' own tokenizer.json: SmolLM2, Llama 3, GPT-2, and the pattern of tekken.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import cast

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from cierzo.chat.tokenizers.byte_letters import byte_level_bytes
from cierzo.chat.tokenizers.hf import Added, Decoding, HfTokenizer
from cierzo.chat.tokenizers.tekken_pattern import TEKKEN_PATTERN
from cierzo.chat.tokenizers.tokenizer import Tokenizer as CierzoTokenizer
from cierzo.model.errors import ModelError
from cierzo.model.readers.contents import TokenizerSource

_LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Pre-tokenizers by the name in tokenizer.ggml.pre. `default` is what converters wrote before they
# knew the model; as transformers does, it is read as GPT-2's, which such vocabularies come from.
_NAMES = {
    "smollm": "smollm",
    "tekken": "tekken",
    "llama-bpe": "llama3",
    "llama3": "llama3",
    "llama-v3": "llama3",
    "gpt-2": "gpt-2",
    "default": "gpt-2",
}
_HIDDEN = "\ufdd2"  # a Unicode noncharacter: no byte-level letter


class _Type(IntEnum):
    """tokenizer.ggml.token_type, from the GGUF specification."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in order of id, the type of each, and merges as "left right" in order of rank."""

    tokens: list[str]
    types: list[int]
    merges: list[str]

    def is_control(self, token_id: int) -> bool:
        return self.types[token_id] in (_Type.CONTROL, _Type.UNKNOWN, _Type.UNUSED)


def from_metadata(source: TokenizerSource) -> CierzoTokenizer:
    """The tokenizer that `tokenizer.ggml.*` describes. Raises ModelError naming the key."""
    model = source.metadata.get("tokenizer.ggml.model")
    if model != "gpt2":
        raise ModelError(
            f"{source.path}: tokenizer.ggml.model is {model!r}; only byte-pair vocabularies "
            "('gpt2') are read from GGUF: use the model's safetensors version, with tokenizer.json"
        )
    name = source.metadata.get("tokenizer.ggml.pre", "default")
    kind = _NAMES.get(str(name))
    if kind is None:
        raise ModelError(
            f"{source.path}: tokenizer.ggml.pre {name!r} is not known (known: "
            f"{', '.join(_NAMES)}): use the model's safetensors version, with tokenizer.json"
        )
    vocabulary = _vocabulary(source)
    if kind == "tekken":
        from cierzo.chat.tokenizers import tekken

        found = tekken.from_gguf(source, vocabulary.tokens, vocabulary.is_control)
        if found is not None:
            return found
    return _byte_level(source, vocabulary, kind)


def _vocabulary(source: TokenizerSource) -> Vocabulary:
    def read(key: str) -> list[object]:
        values = source.metadata.get(f"tokenizer.ggml.{key}")
        if values is None or isinstance(values, str) or not isinstance(values, Iterable):
            raise ModelError(
                f"{source.path}: tokenizer.ggml.{key} is missing or no list: the file has no "
                "whole vocabulary; convert it again"
            )
        return list(values)

    tokens = cast(list[str], read("tokens"))
    merges = cast(list[str], read("merges"))
    if "tokenizer.ggml.token_type" in source.metadata:
        types = [int(cast(int, value)) for value in read("token_type")]
    else:
        types = [int(_Type.NORMAL)] * len(tokens)
    if len(types) != len(tokens):
        raise ModelError(
            f"{source.path}: tokenizer.ggml.token_type has {len(types)} entries for "
            f"{len(tokens)} tokens; convert the model again"
        )
    ends = [source.bos_token_id, *source.eos_token_ids]
    outside = [i for i in ends if i is not None and not 0 <= i < len(tokens)]
    if outside:
        raise ModelError(
            f"{source.path}: control token id {outside[0]} is outside its {len(tokens)} tokens; "
            "convert the model again"
        )
    return Vocabulary(tokens, types, merges)


def _byte_level(source: TokenizerSource, vocabulary: Vocabulary, kind: str) -> HfTokenizer:
    tokens = vocabulary.tokens
    added = []
    for i, kind_of_token in enumerate(vocabulary.types):
        if kind_of_token not in (_Type.NORMAL, _Type.BYTE) and tokens[i]:
            control = vocabulary.is_control(i)
            token = AddedToken(tokens[i], normalized=False, special=control)
            added.append(Added(i, token, control))
    # Words that are matched whole get a spelling in the byte-pair vocabulary that no text reaches,
    # and so does the first of two equal tokens. Every id keeps its place.
    ids = {token: i for i, token in enumerate(tokens)}
    hidden = {entry.id for entry in added}
    if len(ids) < len(tokens):
        hidden.update(i for i, token in enumerate(tokens) if ids[token] != i)
    for i in hidden:
        if ids.get(tokens[i]) == i:
            del ids[tokens[i]]
    ids.update((f"{tokens[i]}{_HIDDEN}{i}", i) for i in hidden)
    pipeline = Tokenizer(_bpe(source, ids, vocabulary.merges, ignore=kind in ("llama3", "tekken")))
    pipeline.pre_tokenizer = _pre_tokenizer(kind, source)
    return HfTokenizer(
        pipeline,
        added,
        Decoding(_piece_bytes, drops_leading_space=False),
        bos_token_id=source.bos_token_id,
        eos_token_ids=source.eos_token_ids,
        adds_bos=source.add_bos,
    )


def _piece_bytes(piece: str) -> bytes:
    return byte_level_bytes(piece.partition(_HIDDEN)[0])


def _bpe(
    source: TokenizerSource, ids: dict[str, int], merges: Sequence[str], *, ignore: bool
) -> models.BPE:
    # Without merges: a word that is a token as a whole is that token (Llama 3 and Tekken).
    pairs = [tuple(merge.split(" ")) for merge in merges]
    try:
        return models.BPE(ids, cast(list[tuple[str, str]], pairs), ignore_merges=ignore)
    except Exception as error:  # the library raises nothing more precise
        raise ModelError(
            f"{source.path}: tokenizer.ggml.merges does not fit its tokens ({error}); "
            "convert the model again"
        ) from error


def _pre_tokenizer(kind: str, source: TokenizerSource) -> pre_tokenizers.PreTokenizer:
    # The space in front is an option of GPT-2's alone; the other models never had it.
    if kind == "gpt-2":
        prefix = bool(source.metadata.get("tokenizer.ggml.add_space_prefix", False))
        return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=True)
    if kind == "smollm":
        steps: list[pre_tokenizers.PreTokenizer] = [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    else:
        pattern = TEKKEN_PATTERN if kind == "tekken" else _LLAMA3_PATTERN
        steps = [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    return pre_tokenizers.Sequence(steps)
