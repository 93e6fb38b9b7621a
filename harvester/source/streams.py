"""Bytes of an input as they arrive, compression undone, other formats named, in constant memory."""

from __future__ import annotations

import bz2
import lzma
import os
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from typing import BinaryIO, cast

from harvester.errors import LocalIOError
from harvester.halt import Look, go_on

BLOCK = 64 * 1024
ZIP = b"PK\x03\x04"

_MOST_LAYERS = 3
_GZIP_WBITS = 31
_MOST_LZMA = 256 * 1024 * 1024
# What a file of another kind begins with, at which place; and what is said of it.
_TAR_AT = 257
_REFUSED = {
    (0, b"\x28\xb5\x2f\xfd"): "zstd data: unpack it first, with `zstd -d`",
    (0, b"\xd0\xcf\x11\xe0"): (
        "an Excel workbook that is old (.xls) or has a password: save it as .xlsx without one, or "
        "as CSV (UTF-8)"
    ),
    (0, b"7z\xbc\xaf\x27\x1c"): "a 7z archive: unpack it, and name the files in it",
    (0, b"Rar!\x1a\x07"): "a rar archive: unpack it, and name the files in it",
    (0, b"%PDF-"): "a PDF: copy its list into a text file",
    (0, b"PAR1"): "a Parquet file: save it as CSV (UTF-8)",
    (0, b"SQLite format 3\0"): "an SQLite database: export the list as CSV (UTF-8)",
    (_TAR_AT, b"ustar"): "a tar archive: unpack it, and name the files in it",
}


class BrokenStreamError(Exception):
    """Bytes that cannot be read on as text; its message says what is wrong and what to do."""


class _Gzip:
    """A gzip member with the face of the other kinds."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WBITS)

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._member.unconsumed_tail

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._member.decompress(self._member.unconsumed_tail + data, max_length)


_Unpacker = _Gzip | bz2.BZ2Decompressor | lzma.LZMADecompressor
_PACKED: dict[bytes, tuple[str, Callable[[], _Unpacker]]] = {
    b"\x1f\x8b": ("gzip", _Gzip),
    b"BZh": ("bzip2", bz2.BZ2Decompressor),
    b"\xfd7zXZ\0": ("xz", lambda: lzma.LZMADecompressor(memlimit=_MOST_LZMA)),
}
_MARKS = (ZIP, *_PACKED, *(begin for at, begin in _REFUSED if not at))


def unpacked(stream: BinaryIO) -> Iterator[bytes]:
    """Yield what is in `stream` in blocks of at most 64 KiB, each as soon as one read gives it.

    Raises BrokenStreamError for broken data, and for files of kinds that are not read; OSError
    where reading fails.
    """
    blocks, head = _raw_blocks(stream), b""
    for _ in range(_MOST_LAYERS):
        head = begun(blocks, _MARKS)
        blocks = chain((head,), blocks)
        mark = next(filter(head.startswith, _PACKED), None)
        if mark is None:
            break
        blocks = _unpacked(blocks, *_PACKED[mark])
    for (at, begin), kind in _REFUSED.items():
        if head.startswith(begin, at):
            raise BrokenStreamError(f"this is {kind}")
    yield from blocks


def is_live(stream: BinaryIO) -> bool:
    """Tell whether `stream` is a pipe, a terminal or the like, where reading may have to wait."""
    try:
        return not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:  # as io.UnsupportedOperation: memory has no descriptor and never waits
        return False


def spool(stdin: BinaryIO, look: Look = go_on) -> BinaryIO:
    """Copy `stdin` into an unnamed temporary file, to be read more than once; it stands at 0.

    Raises LocalIOError where there is no room for it, and what `look` raises.
    """
    try:
        with ExitStack() as undo:
            copy = cast("BinaryIO", undo.enter_context(tempfile.TemporaryFile()))
            for block in _raw_blocks(stdin):
                look()
                copy.write(block)
            copy.seek(0)
            undo.pop_all()
    except OSError as error:
        raise LocalIOError(f"standard input cannot be kept for a second reading: {error}") from None
    return copy


def _raw_blocks(stream: BinaryIO) -> Iterator[bytes]:
    # A thread that waits within a buffered read holds its lock, and Python cannot end without it.
    unbuffered = getattr(stream, "raw", stream) if is_live(stream) else stream
    while block := unbuffered.read(BLOCK):
        yield block


def begun(blocks: Iterator[bytes], marks: Iterable[bytes], zeros: int = 0) -> bytes:
    """Take blocks until it is clear with which mark they begin, if with any.

    Of what holds a zero, at least so many bytes.
    """
    head = b""
    while any(len(head) < len(mark) and mark.startswith(head) for mark in marks) or (
        len(head) < zeros and b"\0" in head
    ):
        block = next(blocks, b"")
        if not block:
            break
        head += block
    return head


def _unpacked(
    blocks: Iterator[bytes], kind: str, begin: Callable[[], _Unpacker]
) -> Iterator[bytes]:
    """Yield what `blocks` unpack to, member by member, never more than a block at once."""
    member = begin()
    try:
        for block in blocks:
            data = block
            while data or not (member.needs_input or member.eof):
                if member.eof:
                    data = data.lstrip(b"\0")  # tapes and disks pad with zeros
                    if not data:
                        break
                    member = begin()
                if text := member.decompress(data, BLOCK):
                    yield text
                data = member.unused_data if member.eof else b""
    except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        raise BrokenStreamError(f"broken {kind} data ({error}): fetch or pack it again") from None
    if not member.eof:
        raise BrokenStreamError(f"{kind} data ends early: fetch or pack the file again")
