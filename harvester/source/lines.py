"""Whole, numbered lines cut from blocks of text; a line without end takes no memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

LONGEST_LINE = 1024 * 1024  # characters
TOO_LONG = "line too long"

_KEPT_OF_TOO_LONG = 400


class Chunk(NamedTuple):
    """Whole lines, each ending in a newline; `first` is the 1-based number of the first.

    With `too_long` it is the beginning of one line whose rest was dropped.
    """

    first: int
    data: str
    too_long: bool = False


def chunks(blocks: Iterable[str]) -> Iterator[Chunk]:
    """Yield the lines in `blocks` as soon as they are whole."""
    number, kept, dropping = 1, "", False
    for block in blocks:
        begin = 0
        if dropping:
            begin = block.find("\n") + 1
            if not begin:
                continue
            dropping = False
            number += 1
        end = block.rfind("\n") + 1
        first_end = block.find("\n", begin) if end > begin else len(block)
        if len(kept) + first_end - begin > LONGEST_LINE:
            yield Chunk(number, (kept + block[begin:])[:_KEPT_OF_TOO_LONG], too_long=True)
            kept, dropping = "", end <= begin
            if dropping:
                continue
            begin = first_end + 1
            number += 1
        if end > begin:
            data = kept + block[begin:end]
            yield Chunk(number, data)
            number += data.count("\n")
            kept = ""
        kept += block[max(begin, end) :]
    if kept:
        yield Chunk(number, kept + "\n")
