"""Lines and columns of text as wide as a terminal, aligned in any script."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, chop_cells

INDENT = "  "
# Narrower than this, a last column stands under its row.
_NARROWEST_COLUMN = 10
_WORD = re.compile(r"\S+\s*")
_COPIED = re.compile(r"\s*(?:`[^`]*`|\S)+\s*")

# A name, a number, and what is to be said of it.
Row = tuple[str, str, str]


def folded(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width` cells, all as far in as the first; a long word is cut anywhere."""
    inside = text.lstrip(" ")
    indent = text[: len(text) - len(inside)]
    room = max(1, width - len(indent))
    for line in _broken(_WORD, inside, room):
        yield from (indent + piece for piece in chop_cells(line, room) or [""])


def wrapped(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width` cells; a long word, and a command in backquotes, stays whole."""
    return _broken(_COPIED, text, width)


def _broken(word: re.Pattern[str], text: str, width: int) -> Iterator[str]:
    line = ""
    for piece in word.findall(text):
        if line and cell_len(line + piece.rstrip()) > width:
            yield line.rstrip()
            line = ""
        line += piece
    yield line.rstrip()


def table(rows: Sequence[Row], width: int) -> Iterator[str]:
    """Rows in columns: the numbers to the right, what is said of them folded within its own."""
    names = max((cell_len(name) for name, _, _ in rows), default=0)
    numbers = max((cell_len(number) for _, number, _ in rows), default=0)
    begin = names + numbers + 2 * len(INDENT)
    is_beside = width - begin >= _NARROWEST_COLUMN
    for name, number, said in rows:
        head = f"{name}{' ' * (names - cell_len(name))}{INDENT}{number:>{numbers}}"
        if is_beside:
            first, *more = folded(said, width - begin)
            yield f"{head}{INDENT}{first}".rstrip()
            yield from (f"{' ' * begin}{line}" for line in more)
        else:
            yield head
            yield from folded(f"{INDENT}{said}", width) if said else ()
