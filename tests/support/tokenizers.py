"""Small but complete tokenizers: a trained byte-level BPE and a cut Tekken v13 vocabulary."""

from __future__ import annotations

import base64
import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import mistral_common
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

BPE_SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # ids 0, 1, 2

CHATML_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# What the BPE learns its merges from: prose, code and a little of the world's other letters.
_CORPUS = (
    "The wind that comes down the valley of the river is cold and dry, and it clears the sky.",
    "When the north wind blows for three days the people of the town stay at home and wait.",
    "A model reads the tokens before it and says how likely each next token is, one at a time.",
    "def add(left: int, right: int) -> int:\n    return left + right\n\n\nprint(add(1, 2))\n",
    "for index in range(10):\n    if index % 2 == 0:\n        continue\n    print(index)\n",
    "class Reader:\n    def __init__(self, path: str) -> None:\n        self.path = path\n",
    "What is the answer? There is no answer that is true for all of the questions there are.",
    "El viento del norte baja por el valle. Où est le fichier? Die Größe ist in Bytes angegeben.",
)

# The control tokens of Tekken v13 that the chat format uses, by rank; other ranks are fillers.
_TEKKEN_CONTROL = {
    0: "<unk>",
    1: "<s>",
    2: "</s>",
    3: "[INST]",
    4: "[/INST]",
    5: "[AVAILABLE_TOOLS]",
    6: "[/AVAILABLE_TOOLS]",
    7: "[TOOL_RESULTS]",
    8: "[/TOOL_RESULTS]",
    9: "[TOOL_CALLS]",
    10: "[IMG]",
    11: "<pad>",
    12: "[IMG_BREAK]",
    13: "[IMG_END]",
    14: "[PREFIX]",
    15: "[MIDDLE]",
    16: "[SUFFIX]",
    17: "[SYSTEM_PROMPT]",
    18: "[/SYSTEM_PROMPT]",
    19: "[TOOL_CONTENT]",
    32: "[ARGS]",
    33: "[CALL_ID]",
    34: "[THINK]",
    35: "[/THINK]",
}
TEKKEN_SPECIAL_COUNT = 36
TEKKEN_BYTE_TOKENS = 604  # 256 bytes and the most frequent merges


@cache
def bpe_tokenizer_json() -> str:
    """A tokenizer.json as SmolLM2's: digits alone, byte-level BPE, `BPE_SPECIAL_TOKENS` first."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=list(BPE_SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer.to_str()


def bpe_vocabulary() -> tuple[list[str], list[str]]:
    """The BPE's tokens in order of id, and its merges as GGUF writes them ("left right")."""
    model = json.loads(bpe_tokenizer_json())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return tokens, [" ".join(pair) for pair in model["merges"]]


@cache
def tekken_json(byte_tokens: int = TEKKEN_BYTE_TOKENS) -> str:
    """A tekken.json of version v13 with Tekken's own first ranks and 36 special tokens."""
    path = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    full: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    special = [
        {
            "rank": rank,
            "token_str": _TEKKEN_CONTROL.get(rank, f"<SPECIAL_{rank}>"),
            "is_control": True,
        }
        for rank in range(TEKKEN_SPECIAL_COUNT)
    ]
    config = full["config"] | {
        "num_vocab_tokens": byte_tokens,
        "default_vocab_size": byte_tokens + TEKKEN_SPECIAL_COUNT,
        "default_num_special_tokens": TEKKEN_SPECIAL_COUNT,
        "version": "v13",
    }
    return json.dumps(
        {
            "config": config,
            "vocab": full["vocab"][:byte_tokens],
            "special_tokens": special,
        }
    )


def tekken_vocabulary() -> tuple[list[str], list[str]]:
    """The cut Tekken vocabulary as GGUF holds it: special tokens first, then byte-level BPE."""
    data = json.loads(tekken_json())
    ranked = [base64.b64decode(entry["token_bytes"]) for entry in data["vocab"]]
    ranks = {token: rank for rank, token in enumerate(ranked)}
    tokens = [entry["token_str"] for entry in data["special_tokens"]]
    tokens += [_as_letters(token) for token in ranked]
    merges = [
        " ".join(_as_letters(part) for part in _split(token, ranks))
        for token in ranked
        if len(token) > 1
    ]
    return tokens, merges


def _split(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The two tokens that byte-pair encoding joins last on its way to `token`."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, len(ranks)) for a, b in pairwise(parts)]
        best = pairs.index(min(pairs))
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts


@cache
def _letters() -> dict[int, str]:
    """GPT-2's letter for each byte: printable ones stand for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + i) for i, byte in enumerate(others)
    }


def _as_letters(token: bytes) -> str:
    return "".join(_letters()[byte] for byte in token)
