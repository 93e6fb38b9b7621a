"""How a place in OUTPUT is known again: by the whole line that ends there, not by a few bytes."""

from __future__ import annotations

import os
import shlex
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from hashlib import blake2b
from pathlib import Path

from harvester.errors import OutputMismatchError
from harvester.ledger.protocol import Checkpoint

# No line begins with NUL, so a mark is told from the bare last bytes that older ledgers hold.
_MARK = b"\0"
_LENGTH_BYTES = 4
_DIGEST_BYTES = 16
# A look back from where a line ends begins with so many bytes, as most lines are shorter.
_FIRST_LOOK = 16 << 10
# What is longer is no line, and is not held in memory: answers of 32 MiB are kept, escaped at most.
LONGEST = 256 << 20


def mark_of(line: bytes) -> bytes:
    """What tells a line, newline and all, from every other."""
    if not line:
        return b""
    digest = blake2b(line, digest_size=_DIGEST_BYTES).digest()
    return _MARK + len(line).to_bytes(_LENGTH_BYTES, "big") + digest


def holds(fd: int, checkpoint: Checkpoint) -> bool:
    """Whether a file has the line that a checkpoint ends with, where it ends."""
    tail = checkpoint.tail
    if not tail.startswith(_MARK):
        return os.pread(fd, len(tail), checkpoint.length - len(tail)) == tail
    length = int.from_bytes(tail[1 : 1 + _LENGTH_BYTES], "big")
    if length > checkpoint.length:
        return False
    return mark_of(os.pread(fd, length, checkpoint.length - length)) == tail


def line_before(fd: int, end: int) -> bytes:
    """The line that ends at a place, with its newline, if it has one; its end if it is too long."""
    length = _FIRST_LOOK
    while True:
        begin = max(0, end - length)
        text = os.pread(fd, end - begin, begin)
        cut = text.rfind(b"\n", 0, -1)
        if cut >= 0 or begin == 0 or length >= LONGEST:
            return text[cut + 1 :]
        length *= 8


def check_stored(path: Path) -> None:
    """Raise OutputMismatchError for a file that is whole, and stored in a way that is not read."""
    with path.open("rb") as file:
        head = file.read(2)
    old = shlex.quote(f"{path}.old")
    ways = {
        b"\x1f\x8b": ("packed", f"gzip -dc < {old}"),
        BOM_UTF16_LE: ("in UTF-16", f"iconv -f UTF-16 -t UTF-8 {old}"),
        BOM_UTF16_BE: ("in UTF-16", f"iconv -f UTF-16 -t UTF-8 {old}"),
    }
    if head in ways:
        name, back = ways[head]
        raise OutputMismatchError(
            f"{path} was stored {name} since, and no line of it is lost: store it as it was with "
            f"`mv {shlex.quote(str(path))} {old} && {back} > {shlex.quote(str(path))}`, then run "
            "the same command again."
        )
