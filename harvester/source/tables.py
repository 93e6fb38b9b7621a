"""CSV and TSV inputs: the column that holds the note ids, row by row."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from harvester.errors import InputError
from harvester.model import Page
from harvester.sanitize import sanitize
from harvester.source.forms import Form, found_in
from harvester.source.ids import NoNoteError
from harvester.source.lines import LONGEST_LINE, TOO_LONG, Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator


def table_pages(chunks: Iterator[Chunk], form: Form, *, delimiter: str) -> Iterator[Page]:
    """Yield a page for each chunk of rows, as soon as its last row is whole; the header is needed.

    Raises InputError where the header has no column for the note ids, or none of one to carry.
    """
    feed = _Feed(chunks)
    rows = csv.reader(feed, delimiter=delimiter)
    header = _header(rows, form)
    column, field = _id_column(header, feed, form)
    carry = form.carry
    columns = [] if carry is None else carry.columns(header, column, form.name)
    page = Page([])
    while not feed.ended:
        first = feed.start_row()
        try:
            if row := next(rows, None):
                feed.check_closed()
                note_id = _id_of(row, column, field, form)
                if carry is not None:
                    page.extra_fields[note_id] = carry.of_row(columns, row)
                page.ids.append(note_id)
        except (csv.Error, NoNoteError) as error:
            page.bad.append(form.bad(first, str(error), feed.text))
        if feed.used_up:
            yield page
            page = Page([])


class _Feed:
    """The lines that csv's reader asks for; it counts them and keeps a row from growing on.

    csv's reader starts afresh with the next line after an error raised here.
    """

    __slots__ = ("_at", "_chunks", "_first", "_lines", "_row", "ended", "text", "used_up")

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self._first = 1
        self._lines: list[str] = []
        self._at = 0
        self._row = 0
        self.text = ""  # the line given last
        self.used_up = True  # the next line has to be waited for
        self.ended = False

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        if self.used_up:
            self._refill()
        self.text = line = self._lines[self._at]
        self._at += 1
        self.used_up = self._at == len(self._lines)
        self._row += len(line)
        if self._row > LONGEST_LINE:
            raise NoNoteError("row too long: a quote left open?")
        if "\0" in line:
            raise NoNoteError("holds a NUL byte")
        return line

    @property
    def line(self) -> int:
        """The number of the line given last."""
        return self._first + self._at - 1

    def start_row(self) -> int:
        """Begin a new row; returns the number of its first line."""
        self._row = 0
        return self._first + self._at

    def check_closed(self) -> None:
        """Raise NoNoteError if the row just read was ended by the end of the input."""
        if self.ended:
            raise NoNoteError("a quote left open")

    def _refill(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            self.ended = True
            raise StopIteration
        self._first, self._at = chunk.first, 0
        self._lines = io.StringIO(chunk.data.decode(errors="replace"), newline="\n").readlines()
        if chunk.too_long:
            self._at, self.used_up, self.text = 1, True, self._lines[0]
            raise NoNoteError(TOO_LONG)


def _header(rows: Iterator[list[str]], form: Form) -> list[str]:
    try:
        return [name.strip() for name in next((row for row in rows if row), [])]
    except (csv.Error, NoNoteError) as error:
        raise InputError(f"{form.name}:1: the header cannot be read: {error}") from None


def _id_column(header: list[str], feed: _Feed, form: Form) -> tuple[int, str]:
    """The index and the name of the column that holds the note ids."""
    field = next((field for field in form.fields if field in header), None)
    if field is None:
        found = sanitize(", ".join(header)) or "none"
        raise InputError(
            f"{form.name}:{feed.line}: no column {' or '.join(form.fields)}; columns found: "
            f"{found}. Name the one that holds the note ids with --id-field"
        )
    return header.index(field), field


def _id_of(row: list[str], column: int, field: str, form: Form) -> str:
    if column >= len(row):
        raise NoNoteError(f"too few columns: no {field}")
    return found_in(row[column], field, form.rule)
