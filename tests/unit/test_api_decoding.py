"""What is compressed, asked for or not, is read; a bomb costs no memory."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from harvester.api.decoding import decoded

MOST = 32 << 20
packed = partial(gzip.compress, mtime=0)
GOOD = b'{"code":0,"data":{"title":"' + b"a note, " * 20 + b'"}}'
RAW = zlib.compress(GOOD)[2:-4]
BOMB = bytes(16 << 20)
Pack = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (GOOD, ""),
        (GOOD, "identity"),
        (packed(GOOD), "gzip"),
        (packed(GOOD), "x-gzip"),
        (packed(GOOD), "GZIP"),
        (packed(GOOD), "deflate"),
        (packed(GOOD), ""),
        (packed(GOOD)[:-8], "gzip"),
        (zlib.compress(GOOD), "deflate"),
        (zlib.compress(GOOD, 1), ""),
        (RAW, "deflate"),
        (packed(GOOD[:9]) + packed(GOOD[9:]), "gzip"),
        (packed(packed(GOOD)), "gzip, gzip"),
        (packed(packed(GOOD)), "gzip"),
        (packed(RAW), "deflate, gzip"),
        (brotli.compress(GOOD), "br"),
        (packed(brotli.compress(GOOD)), "br, gzip"),
        (zstd.compress(GOOD), "zstd"),
        (zstd.compress(GOOD), ""),
        (GOOD, "gzip"),
        (GOOD, "deflate"),
        (GOOD, "br"),
        (GOOD, "zstd"),
        (GOOD, "never-heard-of"),
    ],
)
def test_a_paid_answer_is_read_however_it_is_packed(body: bytes, encoding: str) -> None:
    assert decoded(body, encoding, MOST) == GOOD


@pytest.mark.parametrize(
    ("pack", "encoding"),
    [
        (packed, "gzip"),
        (zlib.compress, ""),
        (lambda bomb: zlib.compress(bomb)[2:-4], "deflate"),
        (lambda bomb: packed(packed(bomb)), ""),
        (lambda bomb: packed(GOOD) + packed(bomb), "gzip"),
        (partial(brotli.compress, quality=4), "br"),
        (zstd.compress, "zstd"),
    ],
)
def test_a_bomb_is_left_where_it_is_too_long(pack: Pack, encoding: str) -> None:
    body = pack(BOMB)
    tracemalloc.start()
    try:
        assert decoded(body, encoding, 1 << 20) is None
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_layers_without_end_are_not_gone_down() -> None:
    body = GOOD
    for _ in range(50):
        body = packed(body)
    left = decoded(body, "", MOST)
    assert left is not None
    assert left.startswith(b"\x1f\x8b")


@given(st.binary(), st.sampled_from(["", "gzip", "deflate", "br", "zstd", "br, deflate, gzip"]))
def test_any_bytes_are_taken_without_an_error(body: bytes, encoding: str) -> None:
    assert decoded(body, encoding, MOST) is not None
    assert decoded(b"\x1f\x8b\x08" + body, encoding, MOST) is not None
    assert decoded(b"\x28\xb5\x2f\xfd" + body, encoding, MOST) is not None
