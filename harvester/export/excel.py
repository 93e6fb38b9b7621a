"""A table as an Excel workbook, written row by row: sole importer of XlsxWriter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO
from unicodedata import east_asian_width

import xlsxwriter

from harvester.export.columns import Column
from harvester.export.forms import Write

MARK = "harvester export"
# What a sheet, a cell and a link may hold, and how many links a sheet may, as Excel says.
_MOST_ROWS, _LONGEST_TEXT, _LONGEST_LINK, _MOST_LINKS = 1_048_576, 32_767, 2_079, 65_530
_CUT = "…"
_WEB = ("http://", "https://")
# Widths go by the first rows; in characters, with room for the filter's button.
_MEASURED, _NARROWEST, _WIDEST, _ROOM = 200, 6, 50, 4
_WIDE = frozenset("WF")


@contextmanager
def excel_table(
    file: BinaryIO, columns: Sequence[Column], most_rows: int = _MOST_ROWS
) -> Iterator[Write]:
    """A workbook of as many sheets as are needed; text is never a formula, and ids are text."""
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    # Sheets wait there for the end.
    with TemporaryDirectory() as folder:
        kept = _UntilItFails(file)
        book = xlsxwriter.Workbook(kept, {**options, "tmpdir": folder})
        book.set_properties({"comments": MARK})
        sheets = _Sheets(book, columns, most_rows)
        yield sheets.write
        sheets.end()
        try:
            book.close()
        except xlsxwriter.exceptions.FileCreateError as error:
            raise OSError(str(error)) from error
        if kept.error is not None:
            raise kept.error


class _UntilItFails:
    """A file that is asked nothing more once it has failed.

    The library's archive would else try to end itself when nobody can be told.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.error: OSError | None = None
        self.write = partial(self._ask, file.write)
        self.seek = partial(self._ask, file.seek)
        self.tell = partial(self._ask, file.tell)
        self.flush = partial(self._ask, file.flush)

    def _ask(self, what: Callable[..., int | None], *values: Any) -> int | None:  # noqa: ANN401 - the file's
        try:
            return 0 if self.error is not None else what(*values)
        except OSError as error:
            self.error = error
            return 0


class _Sheets:
    """The sheets of a workbook, the last of which is written."""

    def __init__(self, book: Any, columns: Sequence[Column], most_rows: int) -> None:  # noqa: ANN401 - untyped
        self._book = book
        self._columns = columns
        self._most_rows = most_rows
        self._bold = book.add_format({"bold": True})
        self._moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self._link = book.get_default_url_format()
        self._links = [column.is_link for column in columns]
        self._begin()

    def _begin(self) -> None:
        self._sheet = self._book.add_worksheet()
        self._row = 0
        self._many_links = 0
        self._widths = [_NARROWEST] * len(self._columns)
        self._sheet.freeze_panes(1, 0)
        for place, column in enumerate(self._columns):
            self._sheet.write_string(0, place, column.heading, self._bold)
            self._measure(place, column.heading, _ROOM)

    def write(self, cells: Sequence[object]) -> None:
        """Write one row, on the next sheet if this one is full."""
        if self._row + 1 == self._most_rows:
            self.end()
            self._begin()
        self._row += 1
        for place, cell in enumerate(cells):
            if cell is not None:
                self._write(place, cell)

    def _write(self, place: int, cell: object) -> None:
        row, sheet = self._row, self._sheet
        if isinstance(cell, str):
            text = _cut(cell) if len(cell) > _LONGEST_TEXT // 2 else cell
            if self._links[place] and self._is_link(text):
                sheet.write_url(row, place, text, self._link, text)
                self._many_links += 1
            else:
                sheet.write_string(row, place, text)
        elif isinstance(cell, datetime):
            sheet.write_datetime(row, place, cell.replace(tzinfo=None), self._moment)
        elif isinstance(cell, bool):
            sheet.write_boolean(row, place, cell)
        else:
            sheet.write_number(row, place, cell)
        if row <= _MEASURED:
            self._measure(place, cell)

    def _is_link(self, text: str) -> bool:
        return (
            text.startswith(_WEB)
            and len(text) <= _LONGEST_LINK
            and not any(map(str.isspace, text))
            and self._many_links < _MOST_LINKS
        )

    def _measure(self, place: int, cell: object, more: int = 1) -> None:
        text = str(cell)[:_WIDEST]
        wide = sum(1 + (east_asian_width(sign) in _WIDE) for sign in text) + more
        self._widths[place] = max(self._widths[place], min(wide, _WIDEST))

    def end(self) -> None:
        """End the sheet: its filter, and widths that fit."""
        if self._columns:
            self._sheet.autofilter(0, 0, self._row, len(self._columns) - 1)
        for place, width in enumerate(self._widths):
            self._sheet.set_column(place, place, width)


def _cut(text: str) -> str:
    """As much of a text as a cell holds, in which an emoji counts as two signs."""
    units = text.encode("utf-16-le")
    if len(units) <= 2 * _LONGEST_TEXT:
        return text
    return units[: 2 * (_LONGEST_TEXT - 1)].decode("utf-16-le", "ignore") + _CUT
