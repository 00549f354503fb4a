"""Checkpoints that read real text and compute next to nothing, with a context of 131,072 tokens.

The words are the default model's, or Mistral's as Devstral has them: the vocabulary that
mistral-common brings, under the version of the chat format that is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mistral_common
from gguf import GGUFWriter

from benchmarks.make_checkpoint import Geometry, write_checkpoint
from cierzo.model.fetch.registry import resolve
from cierzo.model.readers.checkpoint import open_checkpoint

NAMES = ("smollm2", "v3", "v7", "v11", "v13")
_TEKKEN = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
_NUM_CONTROL = 1000
_CONTROL = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]"),
    *("[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    "[TOOL_CONTENT]",
)
_LATER = {32: "[ARGS]", 33: "[CALL_ID]", 34: "[THINK]", 35: "[/THINK]"}


def checkpoint(name: str, folder: Path) -> tuple[Path, Path | None]:
    """The checkpoint of one of `NAMES`, and a tekken.json to read it with."""
    if name == "smollm2":
        return _with_default_words(folder / "smollm2.gguf"), None
    model = folder / "mistral.gguf"
    if not model.exists():
        write_checkpoint(model, _small(131_072), "Q8_0")
    return model, _tekken(folder / f"tekken-{name}.json", name)


def _small(vocab_size: int) -> Geometry:
    return Geometry(
        num_hidden_layers=1,
        hidden_size=128,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=64,
        intermediate_size=128,
        vocab_size=vocab_size,
    )


def _tekken(target: Path, version: str) -> Path:
    data = json.loads(_TEKKEN.read_text(encoding="utf-8"))
    data["config"]["version"] = version
    names = {**dict(enumerate(_CONTROL)), **_LATER}
    data["special_tokens"] = [
        {"rank": rank, "token_str": names.get(rank, f"<SPECIAL_{rank}>"), "is_control": True}
        for rank in range(_NUM_CONTROL)
    ]
    data.pop("image", None)
    target.write_text(json.dumps(data), encoding="utf-8")
    return target


def _with_default_words(target: Path) -> Path:
    source = open_checkpoint(resolve("smollm2-135m").path).tokenizer
    words: Mapping[str, Any] = source.metadata

    def add(writer: GGUFWriter, _: int) -> None:
        writer.add_tokenizer_model(words["tokenizer.ggml.model"])
        writer.add_tokenizer_pre(words["tokenizer.ggml.pre"])
        writer.add_token_list(list(words["tokenizer.ggml.tokens"]))
        writer.add_token_types([int(kind) for kind in words["tokenizer.ggml.token_type"]])
        writer.add_token_merges(list(words["tokenizer.ggml.merges"]))
        writer.add_bos_token_id(words["tokenizer.ggml.bos_token_id"])
        writer.add_eos_token_id(words["tokenizer.ggml.eos_token_id"])
        writer.add_add_bos_token(source.add_bos)
        writer.add_chat_template(source.chat_template or "")

    write_checkpoint(target, _small(len(words["tokenizer.ggml.tokens"])), "Q8_0", add_words=add)
    return target
