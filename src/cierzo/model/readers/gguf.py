"""Reads GGUF files: typed metadata, the table of tensors, and the bytes.

The format is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The gguf package reads it
too, but takes 2.6 s for a vocabulary of 49,000 tokens because it makes an array of every string.
Here lists of strings are only walked; they are decoded when someone asks for them.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from struct import Struct
from typing import NamedTuple, overload

import numpy as np

from cierzo.backends.tensor import RawTensor, StorageType
from cierzo.model.errors import ModelError
from cierzo.model.readers.mapped_file import MappedFile

_ENTRIES = 1 << 16  # metadata keys, and tensors; a 126-layer model has 1,137 tensors
_ELEMENTS = 1 << 23  # of one array; the largest are the merges of a large vocabulary
_STRING_BYTES = 1 << 26  # one string; the largest are chat templates
_NAME_BYTES = 1 << 16
_DIMENSIONS = 4
_ALIGNMENT = 32  # unless general.alignment says otherwise
_LITTLE_VERSIONS = (2, 3)

_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {
    0: ("<u1", Struct("<B")),
    1: ("<i1", Struct("<b")),
    2: ("<u2", Struct("<H")),
    3: ("<i2", Struct("<h")),
    4: ("<u4", Struct("<I")),
    5: ("<i4", Struct("<i")),
    6: ("<f4", Struct("<f")),
    _BOOL: ("?", Struct("<?")),
    10: ("<u8", Struct("<Q")),
    11: ("<i8", Struct("<q")),
    12: ("<f8", Struct("<d")),
}
_U32, _U64 = _SCALARS[4][1], _SCALARS[10][1]

# ggml's numbers of the types that can be read, and names for what people meet otherwise.
_STORAGE = {
    0: StorageType.F32,
    1: StorageType.F16,
    2: StorageType.Q4_0,
    3: StorageType.Q4_1,
    6: StorageType.Q5_0,
    7: StorageType.Q5_1,
    8: StorageType.Q8_0,
    12: StorageType.Q4_K,
    13: StorageType.Q5_K,
    14: StorageType.Q6_K,
    30: StorageType.BF16,
}
_OTHER_TYPES = {
    9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS",
    19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16",
    26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
    40: "NVFP4",
}  # fmt: skip


class StringList(Sequence[str]):
    """A list of strings in a GGUF file, decoded on use."""

    def __init__(self, file: MappedFile, key: str, starts: array[int]) -> None:
        self._file = file
        self._key = key
        self._starts = starts  # where each string's length stands

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._decode(start) for start in self._starts[index]]
        return self._decode(self._starts[index])

    def __iter__(self) -> Iterator[str]:
        return map(self._decode, self._starts)

    def _decode(self, start: int) -> str:
        (length,) = _U64.unpack_from(self._file.map, start)
        try:
            return self._file.map[start + 8 : start + 8 + length].decode()
        except UnicodeDecodeError:
            raise ModelError(
                f"{self._file.path}: {self._key} holds a string that is not UTF-8; fetch the file "
                "again"
            ) from None


@dataclass(frozen=True)
class GGUFFile:
    """Metadata and tensors of one GGUF file, tensors under their stored names."""

    file: MappedFile
    metadata: Mapping[str, object]
    tensors: Mapping[str, RawTensor]


def read_gguf(path: Path) -> GGUFFile:
    """Parses the header; tensors are views of the mapped file."""
    file = MappedFile(path)
    return _Parser(file).parse()


class _TensorEntry(NamedTuple):
    """One line of the table of tensors."""

    name: str
    shape: tuple[int, ...]  # row-major
    storage: StorageType
    offset: int  # in the data


class _Parser:
    """Walks the header once, from its start."""

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        self.at = 0

    def parse(self) -> GGUFFile:
        if self.read(4, "the magic").tobytes() != b"GGUF":
            raise ModelError(
                f"{self.file.path}: not a GGUF file; give a .gguf file or a model folder"
            )
        version = self.scalar(_U32)
        if version not in _LITTLE_VERSIONS:
            raise ModelError(
                f"{self.file.path}: GGUF version {version} (or a big-endian file); only versions 2 "
                "and 3, little-endian, can be read: convert the model again"
            )
        tensor_count = self.count("tensors", _ENTRIES)
        key_count = self.count("metadata keys", _ENTRIES)
        metadata: dict[str, object] = {}
        for _ in range(key_count):
            key = self.name("a metadata key")
            if key in metadata:
                raise self.damaged(f"the key {key} appears twice")
            metadata[key] = self.value(key, int(self.scalar(_U32)))
        alignment = metadata.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 16:
            raise self.damaged(f"general.alignment is {alignment!r}")
        entries = [self.tensor_entry() for _ in range(tensor_count)]
        base = -(-self.at // alignment) * alignment
        return GGUFFile(self.file, metadata, self.tensors(entries, base, alignment))

    def tensors(
        self,
        entries: list[_TensorEntry],
        base: int,
        alignment: int,
    ) -> dict[str, RawTensor]:
        """The tensors in order of place, none over another."""
        tensors: dict[str, RawTensor] = {}
        end, last = 0, ""
        for name, shape, storage, offset in sorted(entries, key=attrgetter("offset")):
            if name in tensors:
                raise self.damaged(f"tensor {name} appears twice")
            if offset % alignment:
                raise self.damaged(
                    f"tensor {name} starts at {offset}, not a multiple of {alignment}"
                )
            if offset < end:
                raise self.damaged(f"tensors {last} and {name} overlap")
            size = math.prod(shape) // storage.block_size * storage.block_bytes
            data = self.file.slice(base + offset, size, f"tensor {name}")
            tensors[name] = RawTensor(name, shape, storage, data, self.file.path)
            end, last = offset + size, name
        return tensors

    def tensor_entry(self) -> _TensorEntry:
        """The entry of the next tensor."""
        name = self.name("a tensor's name")
        dimensions = int(self.scalar(_U32))
        if not 1 <= dimensions <= _DIMENSIONS:
            raise self.damaged(f"tensor {name} has {dimensions} dimensions")
        shape = tuple(int(self.scalar(_U64)) for _ in range(dimensions))[::-1]
        if not all(0 < size < 1 << 48 for size in shape):
            raise self.damaged(f"tensor {name} has the shape {list(shape)}")
        kind = int(self.scalar(_U32))
        if kind not in _STORAGE:
            named = _OTHER_TYPES.get(kind, f"number {kind}")
            raise ModelError(
                f"{self.file.path}: tensor {name} has the type {named}, which cannot be read; use "
                "a file with F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K"
            )
        storage = _STORAGE[kind]
        if shape[-1] % storage.block_size:
            raise self.damaged(
                f"tensor {name} has rows of {shape[-1]}, not whole blocks of {storage.block_size}"
            )
        return _TensorEntry(name, shape, storage, int(self.scalar(_U64)))

    def value(self, key: str, kind: int) -> object:
        """The metadata value of type `kind` that comes next."""
        if kind == _STRING:
            return self.string(key, _STRING_BYTES)
        if kind == _ARRAY:
            return self.elements(key)
        if kind not in _SCALARS:
            raise self.damaged(f"{key} has the unknown value type {kind}")
        return self.scalar(_SCALARS[kind][1])

    def elements(self, key: str) -> object:
        kind = int(self.scalar(_U32))
        length = self.count(f"elements of {key}", _ELEMENTS)
        if kind == _STRING:
            return self.strings(key, length)
        if kind not in _SCALARS:
            raise self.damaged(f"{key} is a list of the unknown value type {kind}")
        dtype = np.dtype(_SCALARS[kind][0])
        return self.read(length * dtype.itemsize, key).view(dtype)

    def strings(self, key: str, length: int) -> StringList:
        """Walks `length` strings. The loop is bare: vocabularies have 10^5 of them."""
        starts = array("Q")
        at, size, unpack = self.at, self.file.size, _U64.unpack_from
        last = size - 8
        for _ in range(length):
            if at > last:
                raise self.truncated(key)
            starts.append(at)
            at += 8 + unpack(self.file.map, at)[0]
        if at > size:
            raise self.truncated(key)
        self.at = at
        return StringList(self.file, key, starts)

    def name(self, what: str) -> str:
        return self.string(what, _NAME_BYTES)

    def string(self, what: str, limit: int) -> str:
        length = self.count(f"bytes of {what}", limit)
        try:
            return self.read(length, what).tobytes().decode()
        except UnicodeDecodeError:
            raise self.damaged(f"{what} is not UTF-8") from None

    def count(self, what: str, limit: int) -> int:
        value = int(self.scalar(_U64))
        if value > limit:
            raise self.damaged(f"{value} {what} are more than {limit}")
        return value

    def scalar(self, form: Struct) -> int | float | bool:
        start = self.at
        self.read(form.size, "the header")
        value: int | float | bool = form.unpack_from(self.file.map, start)[0]
        return value

    def read(self, length: int, what: str) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        view = self.file.slice(self.at, length, what)
        self.at += length
        return view

    def truncated(self, what: str) -> ModelError:
        return ModelError(f"{self.file.path}: truncated in {what}; fetch the file again")

    def damaged(self, what: str) -> ModelError:
        return ModelError(f"{self.file.path}: {what}; the file is damaged, fetch it again")
