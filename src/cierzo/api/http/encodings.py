"""Bodies that come compressed: each coding is taken off as the bytes arrive, in small slices.

A small body may be of any size once it is inflated, so nothing is inflated beyond what is asked
for, and what comes out is counted at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from backports import zstd

from cierzo.api.errors import ApiError, bad_request

ACCEPTED = ("gzip", "deflate", "zstd")
_ALIASES = {"x-gzip": "gzip"}
MOST_CODINGS = 2  # on one body; each costs memory and time
# A slice of either is so little work that others wait for a millisecond or two.
IN_SLICE = 16 << 10
OUT_SLICE = 256 << 10
_ZSTD_WINDOW = 23  # bits; the 8 MiB that RFC 9659 lets a sender of HTTP use

Meter = Callable[[int], None]  # told of bytes as they come; raises ApiError when they are too many


class _Inflater(Protocol):
    """What zlib's and zstd's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Layer:
    """One coding that is taken off; `meter` is told of the bytes that come out."""

    def __init__(self, name: str, meter: Meter) -> None:
        self._name = name
        self._meter = meter
        self._inflater: _Inflater | None = None
        self._whole = True  # a member has ended, and nothing came behind it yet

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Slices of what comes out; empty ones too, so that the caller can pause between them."""
        for start in range(0, len(data), IN_SLICE):
            rest = data[start : start + IN_SLICE]
            pending = True
            while rest or pending:
                out, rest = self._step(rest)
                pending = len(out) == OUT_SLICE and not self._whole
                yield out

    def check_whole(self) -> None:
        """Raises ApiError 400 for a body that was cut."""
        if not self._whole:
            raise bad_request(f"the body's {self._name} data ends too early")

    def _step(self, data: bytes) -> tuple[bytes, bytes]:
        """What comes out, and what of `data` is still to be read."""
        if self._inflater is None:
            self._inflater = self._begin(data)
        inflater = self._inflater
        self._whole = False
        try:
            out = inflater.decompress(data, OUT_SLICE)
        except (zlib.error, zstd.ZstdError):
            raise bad_request(f"the body is not valid {self._name} data") from None
        self._meter(len(out))
        if not inflater.eof:
            return out, getattr(inflater, "unconsumed_tail", b"")
        self._whole = True
        if self._name != "deflate":  # the others may be several, one behind the other
            self._inflater = None
        elif inflater.unused_data:
            raise bad_request("something follows the body's deflate data")
        return out, inflater.unused_data

    def _begin(self, data: bytes) -> Any:
        if self._name == "zstd":
            window = int(zstd.DecompressionParameter.window_log_max)
            return zstd.ZstdDecompressor(options={window: _ZSTD_WINDOW})
        if self._name == "gzip":
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
        # "deflate" means zlib's form, but some send its content bare. That could begin like zlib's
        # only with a stored block whose padding is not zero.
        is_zlib = data[0] & 0x0F == zlib.DEFLATED and data[0] >> 4 <= 7
        return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)


def codings_of(headers: Sequence[bytes]) -> list[str]:
    """The codings that a body has, in the order in which they were put on.

    Raises ApiError 415 for one that is not known here.
    """
    names = [
        name.strip().lower() for value in headers for name in value.decode("latin-1").split(",")
    ]
    names = [_ALIASES.get(name, name) for name in names if name and name != "identity"]
    for name in names:
        if name not in ACCEPTED:
            raise _not_accepted(f"Content-Encoding {name[:50]!r} is not understood here")
    if len(names) > MOST_CODINGS:
        raise _not_accepted(f"Content-Encoding names more than {MOST_CODINGS} codings")
    return names


def _not_accepted(message: str) -> ApiError:
    listed = ", ".join(ACCEPTED)
    advice = f"send the body as it is, or with one of {listed}"
    return ApiError(415, f"{message}; {advice}", headers={"accept-encoding": listed})


class Decoding:
    """Takes the codings of one body off. `new_meter` makes one for each of them."""

    def __init__(self, codings: Sequence[str], new_meter: Callable[[], Meter]) -> None:
        self._layers = [_Layer(name, new_meter()) for name in reversed(codings)]

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Slices of the body as it was before it was coded; some are empty."""
        return _through(self._layers, data)

    def finish(self) -> None:
        """Raises ApiError 400 for a body that is not whole."""
        for layer in self._layers:
            layer.check_whole()


def _through(layers: Sequence[_Layer], data: bytes) -> Iterator[bytes]:
    if not layers:
        yield data
        return
    for out in layers[0].feed(data):
        yield from _through(layers[1:], out)
