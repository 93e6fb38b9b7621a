"""Files that people write by hand: read whole, unless they have no end or nobody writes them."""

from __future__ import annotations

import codecs
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_LARGEST = 1 << 20
# Seconds in which whoever writes into a named pipe has opened it.
_WRITER_COMES = 30.0
# What an editor of Windows begins its text with.
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class EndlessError(OSError):
    """What is there cannot be such a file: it is too long, or nobody writes it."""


def small_text(path: str | os.PathLike[str], seconds: float = _WRITER_COMES) -> str:
    r"""The text of a file or a pipe, its lines ended by `\n`.

    Raises OSError, UnicodeDecodeError, and ValueError for what is no name.
    """
    with _opened(Path(path), seconds) as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise EndlessError(errno.EFBIG, f"it holds more than {_LARGEST:,} bytes: name another file")
    text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _opened(path: Path, seconds: float) -> BinaryIO:
    """Open a file; a pipe waits for its writer, which may never come."""
    if not stat.S_ISFIFO(path.stat().st_mode):
        return path.open("rb")
    from harvester.threads import OneThread  # noqa: PLC0415 - most commands need none

    thread = OneThread()
    opening = thread.submit(path.open, "rb")
    thread.shutdown(wait=False)
    try:
        return opening.result(seconds)
    except TimeoutError:
        told = f"nobody wrote into this pipe within {seconds:g} s: start what writes it first"
        opening.add_done_callback(lambda late: late.result().close())
        raise EndlessError(errno.ETIMEDOUT, told) from None
