"""Bytes of an input as they arrive, gzip undone, byte order marks gone, in constant memory."""

from __future__ import annotations

import os
import stat
import tempfile
import zlib
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, cast

from harvester.errors import LocalIOError
from harvester.halt import Look, go_on

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 64 * 1024

_GZIP = b"\x1f\x8b"
_GZIP_WBITS = 31
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16 = "this is UTF-16 text: save it as UTF-8"
_REFUSED = {
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
    b"PK\x03\x04": "this is a zip archive or an Excel workbook: save it as CSV (UTF-8)",
}


class BrokenStreamError(Exception):
    """Bytes that cannot be read on as text; its message says what is wrong and what to do."""


def text_blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the text of `stream` in blocks of at most 64 KiB, each as soon as one read gives it.

    Raises BrokenStreamError for broken gzip, UTF-16 and zip files; OSError where reading fails.
    """
    raw = _raw_blocks(stream)
    head = _head(raw, (_GZIP,))
    whole = chain((head,), raw)
    yield from _unmarked(_unzipped(whole) if head.startswith(_GZIP) else whole)


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
    read = getattr(unbuffered, "read1", unbuffered.read)
    while block := read(BLOCK):
        yield block


def _head(blocks: Iterator[bytes], marks: tuple[bytes, ...]) -> bytes:
    """Take blocks until it is clear which of `marks` they begin with, if any."""
    head = b""
    while any(len(head) < len(mark) and mark.startswith(head) for mark in marks):
        block = next(blocks, b"")
        if not block:
            break
        head += block
    return head


def _unmarked(blocks: Iterator[bytes]) -> Iterator[bytes]:
    head = _head(blocks, (_UTF8_MARK, *_REFUSED))
    for mark, complaint in _REFUSED.items():
        if head.startswith(mark):
            raise BrokenStreamError(complaint)
    yield head.removeprefix(_UTF8_MARK)
    yield from blocks


def _unzipped(blocks: Iterator[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(_GZIP_WBITS)
    for block in blocks:
        data = block
        while data:
            if member.eof:
                data = data.lstrip(b"\0")  # tapes and disks pad with zeros
                if not data:
                    break
                member = zlib.decompressobj(_GZIP_WBITS)
            yield from _inflated(member, data)
            data = member.unused_data
    if not member.eof:
        raise BrokenStreamError("gzip data ends early: fetch or pack the file again")


def _inflated(member: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """Yield what `data` unpacks to within `member`, never more than a block at once."""
    try:
        while text := member.decompress(data, BLOCK):
            yield text
            data = member.unconsumed_tail
    except zlib.error as error:
        raise BrokenStreamError(f"broken gzip data ({error}): fetch or pack it again") from None
