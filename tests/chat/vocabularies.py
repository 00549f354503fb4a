"""Vocabularies to test with, as checkpoint readers describe them, and the references' own."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mistral_common
import tokenizers

from cierzo.chat.tokenizers.byte_letters import BYTE_OF_LETTER
from cierzo.model.readers.contents import TokenizerSource

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LETTER_OF_BYTE = {byte: letter for letter, byte in BYTE_OF_LETTER.items()}
DATA = Path(mistral_common.__file__).parent / "data"
TEKKEN_FILE = DATA / "tekken_240911.json"  # Pixtral 12B's, 131,072 tokens
CONTROL, USER_DEFINED = 3, 4
WORDS = 12_000  # of Tekken's 130,072: enough to have words of every script

GPT2_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
LLAMA3_SPLIT = (
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}"
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
)


@cache
def tekken_data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(TEKKEN_FILE.read_text(encoding="utf-8"))
    return data


def _split(pattern: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    return {
        "type": "Sequence",
        "pretokenizers": [split | {"invert": False}, GPT2_LEVEL | {"use_regex": False}],
    }


def pre_tokenizer(name: str) -> dict[str, Any]:
    """`pre_tokenizer` of the tokenizer.json of SmolLM2, Llama 3, Mistral Nemo or GPT-2."""
    if name == "smollm":
        digits = {"type": "Digits", "individual_digits": True}
        return {"type": "Sequence", "pretokenizers": [digits, GPT2_LEVEL | {"use_regex": True}]}
    if name == "llama-bpe":
        return _split(LLAMA3_SPLIT)
    if name == "tekken":
        return _split(tekken_data()["config"]["pattern"])
    return GPT2_LEVEL | {"use_regex": True}


@cache
def words() -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The first `WORDS` of Tekken as byte-level BPE: tokens, and merges in order of rank."""
    ranked = [base64.b64decode(entry["token_bytes"]) for entry in tekken_data()["vocab"][:WORDS]]
    ranks = {token: rank for rank, token in enumerate(ranked)}

    def letters(token: bytes) -> str:
        return "".join(LETTER_OF_BYTE[byte] for byte in token)

    merges = []
    for token in ranked[256:]:
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            joined = [ranks.get(a + b, WORDS) for a, b in pairwise(parts)]
            best = joined.index(min(joined))
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        merges.append((letters(parts[0]), letters(parts[1])))
    return tuple(letters(token) for token in ranked), tuple(merges)


CHATML_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "[INST]", "[/INST]")
LLAMA3_CONTROL = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
CHATML_WORDS = ("<tool_call>", "</tool_call>", "    ")


def gguf_source(
    pre: str,
    *,
    control: tuple[str, ...] = CHATML_CONTROL,
    user_defined: tuple[str, ...] = CHATML_WORDS,
    template: str | None = None,
    metadata: Mapping[str, object] | None = None,
) -> TokenizerSource:
    """Control tokens first, then `words()`, then user-defined tokens; EOS is the third token."""
    tokens, merges = words()
    types = [CONTROL] * len(control) + [1] * len(tokens) + [USER_DEFINED] * len(user_defined)
    return TokenizerSource(
        kind="gguf",
        path=Path("model.gguf"),
        chat_template=template,
        bos_token_id=0,
        eos_token_ids=(2,),
        add_bos=False,
        metadata={
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": pre,
            "tokenizer.ggml.tokens": [*control, *tokens, *user_defined],
            "tokenizer.ggml.token_type": types,
            "tokenizer.ggml.merges": [" ".join(pair) for pair in merges],
            "tokenizer.ggml.bos_token_id": 0,
            "tokenizer.ggml.eos_token_id": 2,
        }
        | dict(metadata or {}),
    )


def tokenizer_json(
    pre: str,
    *,
    control: tuple[str, ...] = CHATML_CONTROL,
    user_defined: tuple[str, ...] = CHATML_WORDS,
    vocabulary: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None,
) -> str:
    """The same vocabulary, or another, as a tokenizer.json as published models write it."""
    tokens, merges = vocabulary or words()
    ids = {token: len(control) + i for i, token in enumerate(tokens)}
    added = [(token, i, True) for i, token in enumerate(control)]
    first = len(control) + len(tokens)
    added += [(token, first + i, False) for i, token in enumerate(user_defined)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": pre in ("llama-bpe", "tekken"),
        "vocab": {token: i for token, i, special in added if special}
        | ids
        | {token: i for token, i, special in added if not special},
        "merges": [list(pair) for pair in merges],
    }
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": i, "content": token, "special": special} | flags
                for token, i, special in added
            ],
            "normalizer": None,
            "pre_tokenizer": pre_tokenizer(pre),
            "post_processor": None,
            "decoder": {"type": "ByteLevel"} | {"add_prefix_space": True, "trim_offsets": True},
            "model": model,
        }
    )


def hf_source(path: Path, **fields: Any) -> TokenizerSource:
    """A tokenizer.json, which must be there, as the reader describes it."""
    settings: dict[str, Any] = {
        "chat_template": None,
        "bos_token_id": 0,
        "eos_token_ids": (2,),
        "add_bos": False,
        "metadata": {},
    }
    return TokenizerSource(kind="tokenizer.json", path=path, **(settings | fields))


def reference(json_text: str, **settings: Any) -> PreTrainedTokenizerFast:
    """transformers' tokenizer over the same file."""
    from transformers import PreTrainedTokenizerFast  # late: most tests do without it

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json_text),
        clean_up_tokenization_spaces=False,
        **settings,
    )


def tekken_source(path: Path = TEKKEN_FILE) -> TokenizerSource:
    return TokenizerSource(
        kind="tekken",
        path=path,
        chat_template=None,
        bos_token_id=1,
        eos_token_ids=(2,),
        add_bos=True,
        metadata={},
    )


LLAMA2: dict[str, Any] = {
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ],
    },
    "pre_tokenizer": None,
    "decoder": {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ],
    },
}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}


def sentencepiece_json(**parts: Any) -> str:
    """A Llama-2-like tokenizer: `▁` for spaces, single bytes for letters it has no piece for."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [chr(c) for c in range(33, 127)] + ["▁", "▁▁", "th", "▁th", "▁the", "in", "ing", "é"]
    merges = [["▁", "▁"], ["t", "h"], ["▁", "th"], ["▁th", "e"], ["i", "n"], ["in", "g"]]
    model = {
        "type": "BPE",
        "unk_token": "<unk>",
        "fuse_unk": True,
        "byte_fallback": True,
        "vocab": {piece: i for i, piece in enumerate(pieces)},
        "merges": merges,
    }
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [{"id": i, "content": pieces[i], "special": True} | flags for i in range(3)]
    text = tokenizers.Tokenizer(tokenizers.models.BPE()).to_str()

    return json.dumps(json.loads(text) | {"added_tokens": added, "model": model} | parts)
