"""Tables of any origin: where their notes are, and the rows of CSV and TSV."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain

from msgspec import Struct

from harvester.errors import InputError
from harvester.model import Page
from harvester.sanitize import sanitize
from harvester.source.forms import ID_FIELDS, Form, add_extra_fields, bare_name
from harvester.source.ids import Named
from harvester.source.lines import LONGEST_LINE, TOO_LONG, Chunk

Row = tuple[int, list[str]]

DELIMITERS = (",", ";", "\t")
# Of tables that are drawn, as in Markdown and by databases; there are lines between their rows.
DRAWN = ("|", "│")
_DRAWN_LINES = " \t\r\n-+=:|─┌┬┐├┼┤└┴┘"
# A header stands within so many rows; more of them tell what columns hold.
_HEAD_ROWS = 20
_SAMPLED = 50
MOST = 0.8
# What may stand beside a URL that a cell is there for: numbers, bullets, a short word.
_URL = re.compile(r"\S*/\S*")
_SHORT = 4  # letters
_QUOTES_TOLD = 10
_LONG_CELL = "a cell is too long"
_END = "\0end\n"  # no line of an input holds a NUL


class Layout(Struct, frozen=True):
    """Where a table's notes are: its data begins at row `begin`, their ids are in `columns`.

    `header` is None where there is none.
    """

    begin: int
    columns: tuple[int, ...]
    header: tuple[str, ...] | None = None


def layout_of(rows: Sequence[Row], form: Form, fewest: int = 1) -> Layout | None:
    """Find the notes in the first rows of a table: below a header, or in a column that holds them.

    None where neither is there. Rows of a table without a header have at least `fewest` cells.
    """
    for at, (_, row) in enumerate(rows[:_HEAD_ROWS]):
        names = [bare_name(cell) for cell in row]
        columns = [names.index(key) for key in map(bare_name, form.fields) if key in names]
        if columns:
            header = tuple(cell.strip().strip("\ufeff") for cell in row)
            return Layout(at + 1, tuple(dict.fromkeys(columns)), header)
        if any(map(form.rule.mentioned, row)):
            break
    return _without_header(rows[:_SAMPLED], form, fewest) if form.fields is ID_FIELDS else None


def _without_header(rows: Sequence[Row], form: Form, fewest: int) -> Layout | None:
    """Rows of data from the first on, of which one column always holds a note."""
    cells = [row for _, row in rows if sum(map(bool, map(str.strip, row))) >= fewest]
    found = [[form.rule.whole(cell) for cell in row] for row in cells]
    held = Counter(at for row in found for at, note_id in enumerate(row) if note_id)
    if not held or not any(found[0]) or len(cells) < MOST * len(rows):
        return None
    column, many = max(held.items(), key=lambda item: (item[1], -item[0]))
    several = sum(len(_listed_in(row, form)) > 1 for row in cells)
    if many < MOST * len(cells) or several > (1 - MOST) * len(cells):
        return None
    return Layout(0, (column,))


def _listed_in(row: Sequence[str], form: Form) -> set[str]:
    """The notes of all cells, as a list names them; one in a text with a link is but mentioned."""
    listed: set[str] = set()
    for cell in row:
        named = form.rule.mentioned(cell)
        is_short = "/" not in cell or sum(map(str.isalpha, _URL.sub("", cell))) <= _SHORT
        if is_short or len(named) > 1 or form.rule.whole(cell):
            listed.update(named)
    return listed


def is_table(rows: Sequence[Row], form: Form) -> bool:
    """Tell whether rows look like a table whose header names no column that is known."""
    (_, first), *rest = rows or [(0, [])]
    if len(first) < 2 or not all(map(str.strip, first)) or not rest:  # noqa: PLR2004 - columns
        return False
    if any(map(form.rule.mentioned, first)):
        return False
    same = sum(len(row) == len(first) for _, row in rest)
    holds = any(form.rule.whole(cell) for _, row in rest for cell in row)
    return holds and same >= MOST * len(rest)


def table_pages(batches: Iterable[Sequence[Row]], form: Form) -> Iterator[Page]:
    """Yield a page for each batch of rows, once it is known where their notes are.

    Raises InputError where no column is known to hold them, or there is none of one to carry.
    """
    head: list[Row] = []
    table: _Table | None = None
    for batch in batches:
        rows = [row for row in batch if holds_something(row[1])]
        if table is None:
            head += rows
            layout = layout_of(head, form)
            if layout is None and len(head) < _HEAD_ROWS:
                continue
            table, rows = _Table(layout, head, form), head
            rows = head[table.begin :]
        yield table.page(rows)
    if table is None and head:
        yield _Table(None, head, form).page([])


def holds_something(row: Sequence[str]) -> bool:
    """Tell whether a row is one: not blank, nor a line that is drawn between others."""
    # Most show it at once.
    return bool(row and row[0].strip(_DRAWN_LINES)) or any(
        cell.strip(_DRAWN_LINES) for cell in row[1:]
    )


class _Table:
    """Makes pages of rows, once the columns are known; raises InputError where they are not."""

    def __init__(self, layout: Layout | None, head: Sequence[Row], form: Form) -> None:
        number, first = head[0]
        if layout is None:
            raise InputError(
                f"{form.name}:{number}: no column {_listed(form.fields)}; columns found: "
                f"{sanitize(', '.join(map(str.strip, first)))}. Name the one that holds the note "
                "ids with --id-field"
            )
        self.begin = layout.begin
        self._form = form
        self._columns = layout.columns
        header = layout.header
        if header is None:
            header = tuple(f"column {at}" for at in range(1, len(first) + 1))
        self._header = header
        links = form.links_of(header[layout.columns[0]], header)
        self._links = [at for at, name in enumerate(header) if name in links]
        place = f"{form.name}:{head[max(layout.begin - 1, 0)][0]}"
        extra = form.extra
        self._extra = [] if extra is None else extra.columns(header, layout.columns[0], place)

    def page(self, rows: Sequence[Row]) -> Page:
        """What some rows hold."""
        form, column = self._form, (self._links or self._columns)[0]
        if form.extra is None and rows:
            cells = [row[column] if column < len(row) else "" for _, row in rows]
            ids = form.rule.all_bare("\n".join([*cells, ""]))
            if ids is not None:
                return Page(ids)
        page = Page([])
        for number, row in rows:
            named = self._named(row)
            if form.extra is not None and named.ids:
                text, reason = form.extra.of_row(self._extra, row)
                add_extra_fields(page, () if reason else named.ids, text)
                named = Named([], reason) if reason else named
            if named.reason:
                form.add(page, number, named, ",".join(row))
            else:
                page.ids.extend(named.ids)
        return page

    def _named(self, row: Sequence[str]) -> Named:
        """What the first of the columns that names a note names."""
        first: Named | None = None
        for column in self._columns:
            cell = row[column] if column < len(row) else ""
            note_id = self._form.rule.bare(cell)
            if note_id is not None:
                return Named([self._linked(column, row) or note_id], "")
            if cell.strip():
                named = self._form.rule.read(cell)
                if named.ids or not named.reason:
                    linked = self._linked(column, row)
                    return Named([linked], "") if linked else named
                first = first or named
        if first is not None:
            return first
        name = self._header[self._columns[0]]
        is_short = self._columns[0] >= len(row)
        return Named([], f"too few columns: no {name}" if is_short else f"empty {name}")

    def _linked(self, column: int, row: Sequence[str]) -> str | None:
        if column != self._columns[0]:
            return None
        return self._form.linked(row[at] for at in self._links if at < len(row))


def csv_rows(
    chunks: Iterable[Chunk], form: Form, delimiter: str, skipped: int = 0
) -> Iterator[list[Row]]:
    """Yield the rows of chunks of CSV, numbered by their first lines, less those `skipped`.

    A quote that swallows what is a row by itself, or is never closed, is told, and its line taken
    as it stands.
    """
    rows = _Rows(form, delimiter)
    for chunk in chunks:
        if chunk.too_long:
            form.telling.left_out.append(form.bad(chunk.first, TOO_LONG, chunk.data))
            yield []
        else:
            yield rows.take(chunk)[skipped:]
            skipped = 0
    yield rows.rest()


def undrawn(batches: Iterable[Iterable[Row]]) -> Iterator[list[Row]]:
    """The rows of a table that is drawn, without the blanks that make its cells even."""
    for batch in batches:
        yield [(number, list(map(str.strip, row))) for number, row in batch]


def parsed_csv(lines: Iterable[str], delimiter: str) -> list[list[str]]:
    """The rows of some lines, as far as they can be read."""
    rows: list[list[str]] = []
    with suppress(csv.Error):
        rows.extend(csv.reader(lines, delimiter=delimiter))
    return rows


class _Rows:
    """Rows out of lines; one with an open quote goes on in the next chunk."""

    def __init__(self, form: Form, delimiter: str) -> None:
        self._form = form
        self._delimiter = delimiter
        self._open = Chunk(1, "")
        self._last: list[str] = []
        self._told = 0

    def take(self, chunk: Chunk) -> list[Row]:
        """The rows that are whole with a chunk."""
        first = self._open.first if self._open.data else chunk.first
        data = self._open.data + chunk.data
        self._open = Chunk(1, "")
        return self._rows(first, data, is_last=len(data) > LONGEST_LINE)

    def rest(self) -> list[Row]:
        """What no more lines are to come for."""
        return self._rows(self._open.first, self._open.data, is_last=True)

    def _rows(self, first: int, data: str, *, is_last: bool) -> list[Row]:
        """The rows that are whole; without `is_last`, one that may go on is kept."""
        lines = io.StringIO(data, newline="\n")
        if '"' not in data and len(data) <= csv.field_size_limit():
            rows = list(enumerate(csv.reader(lines, delimiter=self._delimiter), first))
            self._last = rows[-1][1] if rows else self._last
            return rows
        return list(self._quoted(first, list(lines), is_last=is_last))

    def _quoted(self, first: int, lines: list[str], *, is_last: bool) -> Iterator[Row]:
        at = 0
        while at < len(lines):
            left = map(lines.__getitem__, range(at, len(lines)))
            reader = csv.reader(chain(left, (_END,)), delimiter=self._delimiter)
            begun = at
            while at < len(lines):
                try:
                    row: list[str] | None = next(reader)
                except csv.Error:
                    row = None
                end = begun + reader.line_num
                if end == at + 1 and row is not None and end <= len(lines):
                    yield first + at, row
                    self._last, at = row, end
                    continue
                if row is None and end == at + 1:
                    bad = self._form.bad(first + at, _LONG_CELL, lines[at])
                    self._form.telling.left_out.append(bad)
                    at = end
                    continue
                if end > len(lines) and row is not None and not is_last:
                    self._open = Chunk(first + at, "".join(lines[at:]))
                    return
                if row is None or end > len(lines) or self._swallows(lines[at:end]):
                    self._tell(first + at)
                    row, end = self._alone(lines[at]), at + 1
                yield first + at, row
                self._last, at = row, end
                if end < begun + reader.line_num:
                    break

    def _swallows(self, lines: list[str]) -> bool:
        """Tell whether a row over several lines is one by its first, and holds another."""
        whole = self._form.rule.whole
        places = [place for place, cell in enumerate(self._alone(lines[0])) if whole(cell)]
        rows = parsed_csv((line for line in lines[1:] if self._delimiter in line), self._delimiter)
        return any(whole(row[place]) for row in rows for place in places if place < len(row))

    def _alone(self, line: str) -> list[str]:
        """A line as a row by itself, its quotes as they stand where they hide cells."""
        lines = [line.rstrip("\n")]
        row = next(iter(parsed_csv(lines, self._delimiter)), [])
        return row if len(row) >= len(self._last) else lines[0].split(self._delimiter)

    def _tell(self, line: int) -> None:
        self._told += 1
        if self._told <= _QUOTES_TOLD:
            self._form.telling.warned.append(
                f"{self._form.name}: line {line}: a quote that is never closed, or swallows rows: "
                "the line is taken as it stands"
            )


def _listed(names: Sequence[str]) -> str:
    """Names, in one that is read to its end."""
    shown = ", ".join(names[:-1])
    return f"{shown} or {names[-1]}" if shown else names[-1]
