"""Bodies that come compressed: read within the limit of a body, or refused in words."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from cierzo.api.errors import ApiError
from cierzo.api.http.encodings import IN_SLICE, OUT_SLICE, Decoding
from tests.api.http.test_hostile_sockets import memory_mb
from tests.api.live import Live, start
from tests.api.wire import Reply, exchange, short_chat, with_headers

MB = 1 << 20
LIMIT = 2 * MB  # of a body, in the server of these tests


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Live]:
    """One that takes small bodies only, so that large ones need not be made."""
    with start(model, limits__body_bytes=LIMIT) as live:
        yield live


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-zlib.MAX_WBITS)


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw": raw_deflate,
    "zstd": zstd.compress,
}
HEADER = {"raw": "deflate"}


def send(server: Live, coding: str, body: bytes) -> Reply:
    return exchange(server, with_headers(f"Content-Encoding: {coding}", body=body))


def answer_to(server: Live, coding: str, body: bytes) -> str:
    reply = send(server, coding, body)
    assert reply.status == 200, reply.raw
    text: str = reply.json()["choices"][0]["message"]["content"]
    return text


def plain(server: Live) -> str:
    return answer_to(server, "identity", short_chat())


@pytest.mark.parametrize("coder", CODERS)
def test_a_compressed_body_is_read(server: Live, coder: str) -> None:
    body = CODERS[coder](short_chat())
    coding = HEADER.get(coder, coder)
    assert answer_to(server, coding, body) == plain(server)
    assert answer_to(server, coding.upper(), body) == plain(server)


def test_other_names_and_no_name(server: Live) -> None:
    assert answer_to(server, "x-gzip", gzip.compress(short_chat())) == plain(server)
    assert answer_to(server, "", short_chat()) == plain(server)
    assert answer_to(server, "gzip, identity", gzip.compress(short_chat())) == plain(server)


@pytest.mark.parametrize("stored", range(6))
@pytest.mark.parametrize("level", [0, 1, 9])
def test_deflate_of_any_kind(server: Live, stored: int, level: int) -> None:
    """Stored, fixed and dynamic blocks, after a beginning of any length."""
    body = b" " * stored + short_chat()
    for wbits in (-15, -9, 9, 15):
        coder = zlib.compressobj(level, zlib.DEFLATED, wbits, strategy=zlib.Z_FIXED * (level == 1))
        assert inflate(["deflate"], coder.compress(body) + coder.flush(), size=7) == body


def test_codings_one_upon_the_other(server: Live) -> None:
    body = zstd.compress(gzip.compress(short_chat()))
    assert answer_to(server, "gzip, zstd", body) == plain(server)
    both = with_headers("Content-Encoding: gzip", "Content-Encoding: zstd", body=body)
    assert exchange(server, both).status == 200
    assert send(server, "zstd, gzip", body).status == 400
    assert send(server, "gzip, gzip, gzip", body).status == 415


@pytest.mark.parametrize("coding", ["br", "compress", "gzip, br", "gzip;q=1", "é"])
def test_a_coding_that_is_not_known_is_named(server: Live, coding: str) -> None:
    reply = send(server, coding, b"{}")
    assert reply.status == 415
    assert reply.headers["accept-encoding"] == "gzip, deflate, zstd"
    assert "gzip, deflate, zstd" in reply.error()
    assert coding.rpartition(" ")[2][:2] in reply.error() or not coding.isascii()


@pytest.mark.parametrize("coder", CODERS)
def test_a_body_that_is_not_what_it_says(server: Live, coder: str) -> None:
    coding = HEADER.get(coder, coder)
    whole = CODERS[coder](short_chat())
    for cut in (1, len(whole) // 2, len(whole) - 1):
        assert "too early" in refused(server, coding, whole[:cut])
    assert "follows" in (wrong := refused(server, coding, whole + b"garbage")) or "valid" in wrong
    assert "valid" in refused(server, coding, b"\xff" + whole)
    assert refused(server, coding, short_chat())
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    assert refused(server, coding, bytes(broken))


def refused(server: Live, coding: str, body: bytes) -> str:
    reply = send(server, coding, body)
    assert reply.status == 400, reply.raw
    return reply.error()


def test_an_empty_body_has_nothing_to_inflate(server: Live) -> None:
    assert "no body" in refused(server, "gzip", b"")
    assert refused(server, "gzip", gzip.compress(b""))


@pytest.mark.parametrize("coder", ["gzip", "zstd"])
def test_several_members_are_one_body(server: Live, coder: str) -> None:
    body, compress = short_chat(), CODERS[coder]
    members = b"".join(compress(body[i : i + 7]) for i in range(0, len(body), 7)) + compress(b"")
    assert answer_to(server, coder, members) == plain(server)
    if coder == "zstd":
        skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
        assert answer_to(server, coder, skipped + members + skipped) == plain(server)


def bomb(coder: str, size: int) -> bytes:
    """Zeros, compressed piece by piece."""
    if coder == "zstd":
        packer: Any = zstd.ZstdCompressor()
        pieces = [packer.compress(bytes(MB)) for _ in range(size // MB)]
    else:
        wbits = {"gzip": 31, "deflate": 15, "raw": -15}[coder]
        deflater = zlib.compressobj(wbits=wbits)
        pieces = [deflater.compress(bytes(MB)) for _ in range(size // MB)]
        packer = deflater
    return b"".join(pieces) + packer.flush()


@pytest.mark.parametrize("coder", CODERS)
def test_a_bomb_is_not_inflated(server: Live, coder: str) -> None:
    """Two hundred megabytes in two hundred kilobytes or less."""
    body = bomb(coder, 200 * MB)
    before = memory_mb(server)
    reply = send(server, HEADER.get(coder, coder), body)
    assert reply.status == 413
    assert memory_mb(server) < before + 20
    assert server.health() == (200, "ready")


@pytest.mark.parametrize("codings", ["gzip, gzip", "zstd, gzip", "gzip, zstd", "zstd, zstd"])
def test_a_bomb_in_a_bomb(server: Live, codings: str) -> None:
    inner, outer = codings.split(", ")
    body = CODERS[outer](bomb(inner, 200 * MB))
    assert send(server, codings, body).status == 413
    hidden = CODERS[inner](short_chat())
    wide = gzip.compress(hidden + bytes(4 * MB))  # its middle is too large, its end small
    assert send(server, f"{inner}, gzip", wide).status in (400, 413)


@pytest.mark.parametrize("coder", CODERS)
def test_the_limit_is_that_of_the_body_as_it_was(server: Live, coder: str) -> None:
    body, coding = short_chat(), HEADER.get(coder, coder)
    assert answer_to(server, coding, CODERS[coder](body.ljust(LIMIT))) == plain(server)
    assert send(server, coding, CODERS[coder](body.ljust(LIMIT + 1))).status == 413


def test_memory_comes_back(server: Live) -> None:
    """More than eight bodies of the largest size, one after the other, refused or not."""
    large = gzip.compress(b" " * LIMIT)
    for _ in range(6):
        assert send(server, "gzip", large).status == 400
        assert send(server, "gzip", large[:-1]).status == 400


def inflate(codings: Sequence[str], data: bytes, *, size: int = 65_536) -> bytes:
    """All at once, from chunks of `size`."""
    decoding = Decoding(codings, lambda: lambda _: None)
    chunks = (data[i : i + size] for i in range(0, len(data), size))
    out = b"".join(piece for chunk in chunks for piece in decoding.feed(chunk))
    decoding.finish()
    return out


@pytest.mark.parametrize("coder", CODERS)
def test_any_chunks_and_sizes_give_the_same(coder: str) -> None:
    """Also where what comes out ends exactly with a slice."""
    random.seed(5)
    sizes = [0, 1, OUT_SLICE - 1, OUT_SLICE, OUT_SLICE + 1, 2 * OUT_SLICE, 3 * OUT_SLICE + 5]
    for size in sizes:
        for data in (bytes(size), random.randbytes(size), b"ab" * (size // 2)):
            packed = CODERS[coder](data)
            for chunk in (1, 3, IN_SLICE - 1, IN_SLICE, len(packed)):
                if len(packed) // chunk < 5_000:
                    assert inflate([HEADER.get(coder, coder)], packed, size=chunk) == data


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", gzip.compress(b"") * 20_000),
        ("zstd", zstd.compress(b"") * 40_000),
        ("deflate", b"\0\0\0\xff\xff" * 80_000 + b"\1\0\0\xff\xff"),
        ("gzip", gzip.compress(bytes(8 * MB))),
        ("zstd", zstd.compress(bytes(8 * MB))),
    ],
    ids=["members", "frames", "blocks", "zeros", "zeros in zstd"],
)
def test_work_between_pauses_is_bounded(coding: str, data: bytes) -> None:
    """Whatever goes in, a pause comes after so many bytes read and so many given."""
    pieces = list(Decoding([coding], lambda: lambda _: None).feed(data))
    assert len(pieces) >= len(data) // IN_SLICE
    assert max(len(piece) for piece in pieces) <= OUT_SLICE


def test_the_first_byte_too_many_ends_it() -> None:
    """The meter hears of each slice before the next one is inflated."""
    heard = 0

    def count(size: int) -> None:
        nonlocal heard
        heard += size
        if heard > MB:
            raise ApiError(413, "too large")

    with pytest.raises(ApiError):
        for _ in Decoding(["gzip"], lambda: count).feed(bomb("gzip", 64 * MB)):
            pass
    assert heard <= MB + OUT_SLICE


def test_json_is_what_is_in_it(server: Live) -> None:
    assert "malformed" in refused(server, "gzip", gzip.compress(b'{"messages": ['))
    assert "messages" in refused(server, "zstd", zstd.compress(b"{}"))
