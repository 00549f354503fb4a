"""Reads a folder in Hugging Face's layout: config.json, safetensors, tokenizer files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from cierzo.model.config import Architecture, ModelConfig
from cierzo.model.errors import ModelError
from cierzo.model.readers.contents import Contents, TokenizerSource
from cierzo.model.readers.fields import Fields, read_bounded, read_json
from cierzo.model.readers.rope_scaling import hf_rope
from cierzo.model.readers.safetensors import TensorEntry, check_index, indexed_files, read_entries

INDEX = "model.safetensors.index.json"
_TEMPLATE_BYTES = 4 << 20  # the longest in use have 20 kB
_MULTIMODAL = "Mistral3ForConditionalGeneration"
_ARCHITECTURES: dict[str, Architecture] = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
}
_TEXT_TYPES: dict[str, Architecture] = {
    "llama": "llama",
    "mistral": "mistral",
    "ministral3": "mistral",
}

# A multimodal checkpoint's names for the text model, older and newer, to those of the text model
# alone. What matches none of them belongs to the vision tower.
_TEXT_NAMES = (
    (re.compile(r"^language_model\.model\."), "model."),
    (re.compile(r"^model\.language_model\."), "model."),
    (re.compile(r"^language_model\.lm_head\."), "lm_head."),
    (re.compile(r"^lm_head\."), "lm_head."),
)


def read_huggingface(folder: Path) -> Contents:
    """Opens the folder. The tokenizer is tekken.json if there is one, else tokenizer.json."""
    file = folder / "config.json"
    top = read_json(file)
    architecture, fields = _text_config(top)
    entries = _entries(folder)
    names = _names(entries, multimodal=fields is not top)
    tensors = {name: entries[stored].load(stored, name) for name, stored in names.items()}
    tied = "lm_head.weight" not in tensors
    if not tied and fields.flag("tie_word_embeddings", False):
        del tensors["lm_head.weight"]  # some exporters write the embedding twice
        tied = True
    files = {entry.file.path: entry.file for entry in entries.values()}
    return Contents(
        config=_model_config(fields, architecture, tied=tied),
        tensors=tensors,
        tokenizer=_tokenizer(folder, top, fields),
        format="safetensors",
        config_file=file,
        files=files,
    )


def _text_config(top: Fields) -> tuple[Architecture, Fields]:
    """Our name of the architecture, and the settings of the text model."""
    listed = top.values.get("architectures")
    named = listed[0] if isinstance(listed, list) and listed else None
    if named == _MULTIMODAL:
        text = top.group("text_config")
        if text is None:
            raise ModelError(f"{top.file}: text_config is missing; fetch the file again")
        kind = text.text("model_type", "mistral")
        if kind not in _TEXT_TYPES:
            raise ModelError(f"{top.file}: a text model of type {kind[:40]!r} is not supported")
        return _TEXT_TYPES[kind], text
    if not isinstance(named, str) or named not in _ARCHITECTURES:
        supported = ", ".join([*_ARCHITECTURES, _MULTIMODAL])
        raise ModelError(
            f"{top.file}: the architecture {str(named)[:60]} is not supported; use a model of one "
            f"of these: {supported}"
        )
    return _ARCHITECTURES[named], top


def _model_config(fields: Fields, architecture: Architecture, *, tied: bool) -> ModelConfig:
    file = fields.file
    if "quantization_config" in fields:
        raise ModelError(
            f"{file}: quantization_config: quantised safetensors cannot be read; use the model's "
            "BF16 or GGUF version"
        )
    activation = fields.text("hidden_act", "silu")
    if activation != "silu":
        raise ModelError(f"{file}: hidden_act {activation[:40]!r} is not supported, only silu")
    theta, scaling = hf_rope(fields)
    hidden, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    positions = fields.integer("max_position_embeddings")
    check_window(fields, "sliding_window", positions)
    return ModelConfig(
        architecture=architecture,
        hidden_size=hidden,
        num_hidden_layers=fields.integer("num_hidden_layers"),
        num_attention_heads=heads,
        num_key_value_heads=fields.integer("num_key_value_heads", heads),
        head_dim=fields.integer("head_dim", hidden // max(heads, 1)),
        intermediate_size=fields.integer("intermediate_size"),
        vocab_size=fields.integer("vocab_size"),
        rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
        rope_theta=theta,
        max_position_embeddings=positions,
        tie_word_embeddings=tied,
        rope_interleaved=False,
        rope_scaling=scaling,
    )


def check_window(fields: Fields, key: str, positions: int) -> None:
    """A sliding window is accepted only where no context is long enough to feel it."""
    if key in fields and 0 < fields.integer(key) < positions:
        raise ModelError(
            f"{fields.file}: {fields.prefix}{key} is {fields.integer(key)}; attention over a "
            "sliding window is not supported; use a model without one (v0.2 or later of Mistral 7B)"
        )


def _entries(folder: Path) -> dict[str, TensorEntry]:
    index = folder / INDEX
    if index.is_file():
        files, named = indexed_files(index)
        entries = read_entries(files)
        check_index(index, named, entries)
        return entries
    files = sorted(path for path in folder.glob("*.safetensors") if is_hf_weights(path.name))
    if not files:
        raise ModelError(f"{folder}: config.json has no .safetensors beside it; fetch them")
    if len(files) > 1:
        raise ModelError(f"{index}: missing, though there are {len(files)} shards; fetch it")
    return read_entries(files)


def is_hf_weights(name: str) -> bool:
    """Whether a file of this name holds weights in Hugging Face's layout (not Mistral's)."""
    return name.endswith(".safetensors") and not name.startswith(("consolidated", "adapter_"))


def _names(entries: Mapping[str, TensorEntry], *, multimodal: bool) -> dict[str, str]:
    """Our name of each tensor to its stored one."""
    if not multimodal:
        return {name: name for name in entries}
    names = {}
    for stored in entries:
        for pattern, replacement in _TEXT_NAMES:
            if pattern.match(stored):
                names[pattern.sub(replacement, stored)] = stored
                break
    return names


def _tokenizer(folder: Path, top: Fields, text: Fields) -> TokenizerSource:
    settings = _optional(folder / "tokenizer_config.json")
    generation = _optional(folder / "generation_config.json")
    sources = [generation, text, top]
    eos = _ids(sources, "eos_token_id") or _added_token(settings, "eos_token")
    bos = _ids(sources, "bos_token_id") or _added_token(settings, "bos_token")
    for name in ("tekken.json", "tokenizer.json"):
        if (folder / name).is_file():
            break
    else:
        raise ModelError(f"{folder}: neither tekken.json nor tokenizer.json is there; fetch it")
    tekken = name == "tekken.json"
    return TokenizerSource(
        kind="tekken" if tekken else "tokenizer.json",
        path=folder / name,
        chat_template=_chat_template(folder, settings),
        bos_token_id=bos[0] if bos else (1 if tekken else None),
        eos_token_ids=eos or ((2,) if tekken else ()),
        add_bos=settings.flag("add_bos_token", tekken),
        metadata=settings.values,
    )


def _optional(file: Path) -> Fields:
    return read_json(file) if file.is_file() else Fields({}, file)


def _ids(sources: list[Fields], key: str) -> tuple[int, ...]:
    """Token ids under `key`, one or a list, from all sources, each once."""
    ids: list[int] = []
    for source in sources:
        value = source.values.get(key)
        for item in value if isinstance(value, list) else [value]:
            if item is None or item in ids:
                continue
            if type(item) is not int or item < 0:
                raise ModelError(f"{source.file}: {key} is {str(item)[:60]}, not a token id")
            ids.append(item)
    return tuple(ids)


def _added_token(settings: Fields, key: str) -> tuple[int, ...]:
    """The id of a token that tokenizer_config.json names only by its text."""
    token = settings.values.get(key)
    content = token.get("content") if isinstance(token, Mapping) else token
    added = settings.group("added_tokens_decoder")
    if content is None or added is None:
        return ()
    return tuple(
        int(number)
        for number, entry in added.values.items()
        if len(number) < 10
        and number.isdecimal()
        and isinstance(entry, Mapping)
        and entry.get("content") == content
    )


def _chat_template(folder: Path, settings: Fields) -> str | None:
    """The Jinja source: chat_template.jinja (newer), chat_template.json, tokenizer_config.json."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        try:
            return read_bounded(file, _TEMPLATE_BYTES).decode()
        except UnicodeDecodeError as error:
            raise ModelError(f"{file}: not UTF-8; fetch it again") from error
    separate = _optional(folder / "chat_template.json")
    template = separate.values.get("chat_template", settings.values.get("chat_template"))
    if isinstance(template, list):  # several, by name
        named = {t.get("name"): t.get("template") for t in template if isinstance(t, Mapping)}
        template = named.get("default")
    if template is not None and not isinstance(template, str):
        raise ModelError(f"{settings.file}: chat_template is not a string; fetch the file again")
    return template
