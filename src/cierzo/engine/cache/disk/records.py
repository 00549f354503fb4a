"""One record for each slot of the store says what the slot holds; together they are its index.

A record names its block by a hash of all tokens up to its end, and has the block's own tokens
besides: they are compared with those that are wanted, and the hash is believed for what is before
them. A record that was not written to its end, or that somebody changed, fails its check.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b

from cierzo.engine.cache.prefix_tree import TOKEN_BYTES

NAME_BYTES = 16
_CHECK_BYTES = 16


@dataclass(frozen=True, slots=True)
class Record:
    """What a slot holds."""

    name: bytes  # of the prefix that ends with this block
    parent: bytes  # of the prefix before it
    root: bytes  # of the empty prefix: whose it is
    used: int  # nanoseconds since 1970, and later than all that were used before
    digest: int  # of the block's bytes
    tokens: bytes  # int32, as many as a block has, or fewer in a tail

    @property
    def num_tokens(self) -> int:
        """Tokens in its block."""
        return len(self.tokens) // TOKEN_BYTES


def name_of(parent: bytes, tokens: bytes) -> bytes:
    """The name of a prefix: `parent` names what stands before these tokens."""
    return blake2b(tokens, digest_size=NAME_BYTES, key=parent).digest()


class RecordForm:
    """How records of one store are written."""

    def __init__(self, block_size: int, world: bytes) -> None:
        """`block_size` in tokens. Records of another world fail their check."""
        self._world = world
        self._body = struct.Struct(f"<16s16s16sQQI{block_size * TOKEN_BYTES}s")
        self._whole = struct.Struct(f"<{_CHECK_BYTES}s{self._body.size}s")
        # A power of two: a record never lies across two sectors.
        self.num_bytes = 1 << (self._whole.size - 1).bit_length()
        self.empty = bytes(self.num_bytes)

    def pack(self, slot: int, record: Record) -> bytes:
        """The record as it is written for a slot."""
        body = self._pack_body(record)
        whole = self._whole.pack(self._check(slot, body), body)
        return whole.ljust(self.num_bytes, b"\0")

    def unpack(self, slot: int, data: bytes | memoryview) -> Record | None:
        """What was written for a slot; None if that is nothing, or not as it was written."""
        check, body = self._whole.unpack_from(data)
        if not any(check) or check != self._check(slot, body):
            return None
        name, parent, root, used, digest, num_tokens, tokens = self._body.unpack(body)
        return Record(name, parent, root, used, digest, tokens[: num_tokens * TOKEN_BYTES])

    def _pack_body(self, record: Record) -> bytes:
        fields = (record.name, record.parent, record.root, record.used, record.digest)
        return self._body.pack(*fields, record.num_tokens, record.tokens)

    def _check(self, slot: int, body: bytes) -> bytes:
        place = slot.to_bytes(16, "little")
        return blake2b(body, digest_size=_CHECK_BYTES, key=self._world, salt=place).digest()
