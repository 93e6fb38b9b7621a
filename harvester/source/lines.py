"""Whole, numbered lines cut from blocks of bytes; a line without end takes no memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harvester.errors import InputError
from harvester.source.streams import BrokenStreamError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST_LINE = 1024 * 1024  # bytes
TOO_LONG = "line too long"

_KEPT_OF_TOO_LONG = 400


class Chunk(NamedTuple):
    """Whole lines, each ending in a newline; `first` is the 1-based number of the first.

    With `too_long` it is the beginning of one line whose rest was dropped.
    """

    first: int
    data: bytes
    too_long: bool = False


def chunks(blocks: Iterable[bytes], name: str) -> Iterator[Chunk]:
    """Yield the lines in `blocks` as soon as they are whole; `name` is the input's, for errors.

    Raises InputError, naming the line reached, where the blocks cannot be read on.
    """
    cutter = _Cutter()
    try:
        for block in blocks:
            yield from cutter.cut(block)
    except (BrokenStreamError, OSError) as error:
        reached = f" after line {cutter.line - 1}" if cutter.line > 1 else ""
        raise InputError(f"{name}: cannot be read on{reached}: {error}") from None
    yield from cutter.rest()


class _Cutter:
    """Cuts blocks at their last newline and keeps what follows for the next."""

    __slots__ = ("_dropping", "_kept", "line")

    def __init__(self) -> None:
        self.line = 1  # the number of the first line not yet given out
        self._kept = bytearray()
        self._dropping = False

    def cut(self, block: bytes) -> Iterator[Chunk]:
        if self._overgrown(block):
            yield Chunk(self.line, bytes(self._kept[:_KEPT_OF_TOO_LONG]), too_long=True)
            self._kept.clear()
            self._dropping = True
        if self._dropping:
            block = self._behind_dropped(block)
        end = block.rfind(b"\n") + 1
        if end:
            yield self._whole(bytes(self._kept) + block[:end])
        self._kept += block[end:]

    def rest(self) -> Iterator[Chunk]:
        if self._kept:
            yield self._whole(bytes(self._kept) + b"\n")

    def _overgrown(self, block: bytes) -> bool:
        newline = block.find(b"\n")
        return len(self._kept) + (len(block) if newline < 0 else newline) > LONGEST_LINE

    def _behind_dropped(self, block: bytes) -> bytes:
        _, newline, behind = block.partition(b"\n")
        if newline:
            self._dropping = False
            self.line += 1
        return behind

    def _whole(self, data: bytes) -> Chunk:
        chunk = Chunk(self.line, data)
        self._kept.clear()
        self.line += data.count(b"\n")
        return chunk
