"""A model's files opened and checked: config, weights, tokenizer."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from cierzo.backends.tensor import RawTensor
from cierzo.model.config import ModelConfig
from cierzo.model.errors import ModelError
from cierzo.model.readers.contents import Contents, Format, TokenizerSource
from cierzo.model.readers.gguf_model import read_gguf_model
from cierzo.model.readers.huggingface import INDEX, is_hf_weights, read_huggingface
from cierzo.model.readers.mapped_file import MappedFile
from cierzo.model.readers.mistral import read_mistral, tekken_source

__all__ = ["Checkpoint", "TokenizerSource", "open_checkpoint"]

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# Rotary frequencies that old exporters stored; they follow from rope_theta.
_DERIVED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq|rope\.freqs")
# Files whose absence changes what is read: a broken link in place of one is an error.
_READ = re.compile(
    r"(config|generation_config|params|tekken|tokenizer|tokenizer_config|chat_template)\.json"
    r"|chat_template\.jinja|(model|consolidated)\.safetensors\.index\.json|.*\.(safetensors|gguf)"
)
_SAMPLES = 4  # places in a tensor that the fingerprint reads
_SAMPLE_BYTES = 64


@dataclass(frozen=True)
class Checkpoint:
    """A model that can be run: every weight is there and has the shape that config says."""

    config: ModelConfig
    tensors: Mapping[str, RawTensor]  # by Hugging Face's names
    tokenizer: TokenizerSource
    source: Path
    format: Format
    weights_bytes: int  # of tensor data
    files: Mapping[Path, MappedFile] = field(repr=False)

    def fingerprint(self) -> str:
        """A short hash naming these weights: sizes, types, and bytes sampled from each tensor.

        Sampling keeps it quick for 14 GB on a cold disk. Training touches every matrix all over,
        so two models differ in the samples; a hand-edited row might not show.
        """
        digest = hashlib.sha256(repr(self.config).encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name}{tensor.shape}{tensor.storage}".encode())
            for i in range(_SAMPLES):
                start = tensor.data.size * i // _SAMPLES
                digest.update(tensor.data[start : start + _SAMPLE_BYTES].tobytes())
        return digest.hexdigest()[:16]

    def main_storage(self) -> str:
        """The storage type of most of the numbers, such as "q4_k"."""
        numbers: Counter[str] = Counter()
        for tensor in self.tensors.values():
            numbers[tensor.storage.value] += math.prod(tensor.shape)
        return numbers.most_common(1)[0][0]

    def release(self, tensor: RawTensor) -> None:
        """Lets the file pages of a tensor leave memory, after it was laid out for a device."""
        self.files[tensor.file].release(tensor.data)


def open_checkpoint(path: Path, tokenizer: Path | None = None) -> Checkpoint:
    """Opens a GGUF file, or a folder in Hugging Face's or Mistral's layout.

    `tokenizer` is a tekken.json to use in place of the checkpoint's own vocabulary.
    """
    contents = _read(path)
    if tokenizer is not None:
        contents = replace(contents, tokenizer=tekken_source(tokenizer))
    contents.config.check(contents.config_file)
    tensors = _checked(contents)
    return Checkpoint(
        config=contents.config,
        tensors=tensors,
        tokenizer=contents.tokenizer,
        source=path,
        format=contents.format,
        weights_bytes=sum(tensor.data.size for tensor in tensors.values()),
        files=contents.files,
    )


def _read(path: Path) -> Contents:
    if path.is_file():
        return read_gguf_model(path)
    if not path.is_dir():
        raise ModelError(f"{path}: no such file or folder; check the path")
    try:
        files = sorted(path.iterdir())
        names = [file.name for file in files if file.is_file()]
        broken = [file for file in files if file.is_symlink() and not file.exists()]
    except OSError as error:
        raise ModelError(f"{path}: cannot be listed ({error.strerror})") from error
    for file in broken:
        if _READ.fullmatch(file.name):
            raise ModelError(f"{file}: a link that leads nowhere; fetch the model again")
    # Where a folder holds both layouts, as Devstral's repository does, Hugging Face's is read:
    # its config.json says the context length and the end tokens, which params.json does not.
    if "config.json" in names and any(is_hf_weights(name) or name == INDEX for name in names):
        return read_huggingface(path)
    if "params.json" in names and any(name.endswith(".safetensors") for name in names):
        return read_mistral(path)
    gguf = [name for name in names if name.endswith(".gguf")]
    if len(gguf) == 1:
        return read_gguf_model(path / gguf[0])
    if gguf:
        raise ModelError(f"{path}: holds {len(gguf)} GGUF files; name one, such as {gguf[0]}")
    if any(name.endswith(_PICKLES) for name in names):
        raise ModelError(
            f"{path}: only pickled weights ({', '.join(_PICKLES[:2])}), which can run code when "
            "loaded and are never read; use the model's safetensors or GGUF version"
        )
    raise ModelError(
        f"{path}: no model here; expected a .gguf file, config.json with .safetensors, or "
        "params.json with consolidated.safetensors"
    )


def _expected(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every weight of the architecture."""
    heads = config.num_attention_heads * config.head_dim
    kv_heads = config.num_key_value_heads * config.head_dim
    hidden, inner = config.hidden_size, config.intermediate_size
    yield "model.embed_tokens.weight", (config.vocab_size, hidden)
    for i in range(config.num_hidden_layers):
        layer = f"model.layers.{i}"
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.self_attn.q_proj.weight", (heads, hidden)
        yield f"{layer}.self_attn.k_proj.weight", (kv_heads, hidden)
        yield f"{layer}.self_attn.v_proj.weight", (kv_heads, hidden)
        yield f"{layer}.self_attn.o_proj.weight", (hidden, heads)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
        yield f"{layer}.mlp.gate_proj.weight", (inner, hidden)
        yield f"{layer}.mlp.up_proj.weight", (inner, hidden)
        yield f"{layer}.mlp.down_proj.weight", (hidden, inner)
    yield "model.norm.weight", (hidden,)
    if not config.tie_word_embeddings:
        yield "lm_head.weight", (config.vocab_size, hidden)


def _checked(contents: Contents) -> dict[str, RawTensor]:
    """The weights of the architecture: none missing, none misshapen, none left over."""
    tensors: dict[str, RawTensor] = {}
    for name, shape in _expected(contents.config):
        tensor = contents.tensors.get(name)
        if tensor is None:
            raise ModelError(
                f"{contents.config_file}: the weights lack {name}; the files are incomplete, "
                "fetch them again"
            )
        if tensor.shape != shape:
            raise ModelError(
                f"{tensor.file}: tensor {name} has the shape {list(tensor.shape)}, but "
                f"{contents.config_file.name} says {list(shape)}; the files do not belong together"
            )
        tensors[name] = tensor
    for name, tensor in contents.tensors.items():
        if name not in tensors and not _DERIVED.fullmatch(name):
            raise ModelError(
                f"{tensor.file}: tensor {name[:100]} is not part of a "
                f"{contents.config.architecture} model and would be ignored; this variant of the "
                "architecture is not supported"
            )
    return tensors
