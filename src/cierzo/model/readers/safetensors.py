"""Reads safetensors files: a JSON header that says where each tensor lies, then the bytes.

The format is https://github.com/huggingface/safetensors#format. The header is read here, not by
the safetensors package, so that tensors stay views of the mapped file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cierzo.backends.tensor import RawTensor, StorageType
from cierzo.model.errors import ModelError
from cierzo.model.readers.fields import parse_json, read_json
from cierzo.model.readers.mapped_file import MappedFile

_HEADER_BYTES = 100_000_000  # the format's own limit
_NAME_CHARS = 255  # of a file; systems allow no more
_DTYPES = {"F32": StorageType.F32, "F16": StorageType.F16, "BF16": StorageType.BF16}


@dataclass(frozen=True)
class TensorEntry:
    """One tensor as the header of its file describes it."""

    file: MappedFile
    dtype: str
    shape: tuple[int, ...]
    start: int  # in the file
    length: int

    def load(self, stored_as: str, name: str) -> RawTensor:
        """The tensor under Cierzo's `name`; `stored_as` is its name in the file."""
        if self.dtype not in _DTYPES:
            raise ModelError(
                f"{self.file.path}: tensor {stored_as} has the type {self.dtype}; only F32, F16 "
                "and BF16 can be read; use the model's BF16 or GGUF version"
            )
        storage = _DTYPES[self.dtype]
        if math.prod(self.shape) * storage.block_bytes != self.length:
            raise ModelError(
                f"{self.file.path}: tensor {stored_as} has {self.length} bytes, not those of "
                f"{self.dtype} {list(self.shape)}; fetch the file again"
            )
        data = self.file.slice(self.start, self.length, f"tensor {stored_as}")
        return RawTensor(name, self.shape, storage, data, self.file.path)


def read_entries(files: Iterable[Path]) -> dict[str, TensorEntry]:
    """The tensors of several files together, by their stored names."""
    entries: dict[str, TensorEntry] = {}
    for path in files:
        for name, entry in _read_header(MappedFile(path)).items():
            if name in entries:
                raise ModelError(
                    f"{path}: tensor {name} is also in {entries[name].file.path.name}; remove "
                    "the file that does not belong to the model"
                )
            entries[name] = entry
    return entries


def indexed_files(index: Path) -> tuple[list[Path], Mapping[str, str]]:
    """The shards that an index names, each there, and the tensor names it gives to each."""
    weights = read_json(index).group("weight_map")
    if weights is None or not weights.values:
        raise ModelError(f"{index}: weight_map is missing; fetch the file again")
    names: dict[str, str] = {}
    for tensor, file in weights.values.items():
        if not isinstance(file, str) or len(file) > _NAME_CHARS or Path(file).name != file:
            shown = repr(file)[:100]
            raise ModelError(f"{index}: weight_map puts {tensor} in {shown}, not a file beside it")
        names[tensor] = file
    paths = [index.parent / file for file in sorted(set(names.values()))]
    for path in paths:
        if not path.is_file():
            raise ModelError(f"{path}: missing, though {index.name} names it; fetch it")
    return paths, names


def check_index(index: Path, names: Mapping[str, str], entries: Mapping[str, TensorEntry]) -> None:
    """Every tensor must lie in the shard where the index says."""
    for tensor, file in names.items():
        if tensor not in entries or entries[tensor].file.path.name != file:
            raise ModelError(
                f"{index.parent / file}: tensor {tensor} is missing, though {index.name} puts it "
                "there; fetch the file again"
            )


def _read_header(file: MappedFile) -> dict[str, TensorEntry]:
    length = int.from_bytes(file.slice(0, 8, "the header's length").tobytes(), "little")
    if length > _HEADER_BYTES:
        raise ModelError(
            f"{file.path}: the header would have {length} bytes; not a safetensors file, or damaged"
        )
    base = 8 + length
    header = parse_json(file.slice(8, length, "the header").tobytes(), file.path)
    entries = {
        name: _entry(file, name, value, base)
        for name, value in header.values.items()
        if name != "__metadata__"
    }
    _check_overlaps(entries)
    return entries


def _entry(file: MappedFile, name: str, value: Any, base: int) -> TensorEntry:
    try:
        dtype, shape, (begin, end) = value["dtype"], value["shape"], value["data_offsets"]
        numbers = [*shape, begin, end]
    except (TypeError, KeyError, ValueError):
        numbers = [None]
    if not all(type(number) is int and 0 <= number < 1 << 48 for number in numbers) or begin > end:
        raise ModelError(
            f"{file.path}: the header's entry for {name} is malformed; fetch the file again"
        )
    if base + end > file.size:
        raise ModelError(
            f"{file.path}: truncated: tensor {name} ends at byte {base + end}, the file has "
            f"{file.size}; fetch it again"
        )
    return TensorEntry(file, str(dtype), tuple(shape), base + begin, end - begin)


def _check_overlaps(entries: Mapping[str, TensorEntry]) -> None:
    in_order = sorted((entry.start, entry.length, name) for name, entry in entries.items())
    end, last = 0, ""
    for start, length, name in in_order:
        if start < end:
            raise ModelError(
                f"{entries[name].file.path}: tensors {last} and {name} overlap; fetch it again"
            )
        end, last = start + length, name
