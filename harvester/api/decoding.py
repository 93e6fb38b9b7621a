"""Undoes compression, asked for or not, within a bound: a bomb costs an attempt, not memory."""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Callable
from functools import partial

_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_GZIP_MAGIC, _ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# What a zlib stream begins with: deflate, and a window of at most 32 KiB.
_ZLIB_METHODS = frozenset(range(0x08, 0x80, 0x10))
# Twice happens, where a proxy packs what was packed already; more is a game.
_MOST_LAYERS = 3
# A zstd frame may ask for as much memory as its window; this is that of 32 MiB.
_ZSTD_WINDOW = 25
_NAMES = re.compile(r"[a-z0-9_-]+")


class _NotPackedError(Exception):
    """The bytes are not what they pretend to be, or their library is not installed."""


# Gives at most so many bytes and one more; raises _NotPackedError.
_Unpacker = Callable[[bytes, int], bytes]


def decoded(body: bytes, content_encoding: str, most: int) -> bytes | None:
    """A body without its compression, or None if it is longer than `most` bytes.

    Its first bytes tell more than the header does, which may be missing or wrong. What only
    pretends to be compressed stays as it is: it may be an answer, and paid for.
    """
    names = _NAMES.findall(content_encoding.lower())
    for _ in range(_MOST_LAYERS):
        unpack = _unpacker(body, names)
        if unpack is None:
            break
        try:
            plain = unpack(body, most)
        except _NotPackedError:
            break
        if len(plain) > most:
            return None
        body = plain
    return body


def _unpacker(body: bytes, names: list[str]) -> _Unpacker | None:
    """What undoes the outermost layer, if any; a name that was of use is taken from `names`."""
    if body.startswith(_GZIP_MAGIC):
        return partial(_inflated, window=_GZIP)
    if body.startswith(_ZSTD_MAGIC):
        return _zstd
    if _is_zlib(body):
        return partial(_inflated, window=_ZLIB)
    named: dict[str, _Unpacker] = {"deflate": partial(_inflated, window=_RAW), "br": _brotli}
    while names:
        if (unpack := named.get(names.pop())) is not None:
            return unpack
    return None


def _is_zlib(body: bytes) -> bool:
    head = body[:2]
    return len(head) == 2 and head[0] in _ZLIB_METHODS and int.from_bytes(head) % 31 == 0  # noqa: PLR2004


def _inflated(body: bytes, most: int, window: int) -> bytes:
    try:
        unpacker = zlib.decompressobj(window)
        plain = unpacker.decompress(body, most + 1)
        # A gzip file may be several in a row.
        while unpacker.unused_data.startswith(_GZIP_MAGIC) and len(plain) <= most:
            rest, unpacker = unpacker.unused_data, zlib.decompressobj(_GZIP)
            plain += unpacker.decompress(rest, most + 1 - len(plain))
    except zlib.error as error:
        raise _NotPackedError from error
    return plain


def _brotli(body: bytes, most: int) -> bytes:
    try:
        library = importlib.import_module("brotli")
    except ImportError as error:
        raise _NotPackedError from error
    try:
        plain: bytes = library.Decompressor().process(body, output_buffer_limit=most + 1)
    except (library.error, TypeError) as error:  # older ones know no limit
        raise _NotPackedError from error
    return plain


def _zstd(body: bytes, most: int) -> bytes:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        options = {library.DecompressionParameter.window_log_max: _ZSTD_WINDOW}
        try:
            plain: bytes = library.ZstdDecompressor(options=options).decompress(body, most + 1)
        except library.ZstdError as error:
            raise _NotPackedError from error
        return plain
    raise _NotPackedError
