"""The forms of a table that need no library: csv, a flat object a line, an SQLite file."""

from __future__ import annotations

import json
import re
import sqlite3
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from harvester.export.columns import CellKind, Column, numbered
from harvester.export.fields import FETCHED_AT
from harvester.export.record import as_json

# Takes the cells of one row, and may make others of them in their place.
Write = Callable[[list[Any]], None]

# In an SQLite file's head: which program's it is, a number that it chose.
SQLITE_MARK = 0x4E4F5445
# What a spreadsheet runs, or takes for a number or a date and changes: leading zeros, 1e5, 3-5.
_RUN = "=+-@\t\r\uff1d\uff0b\uff0d\uff20"
_RISKY_START = frozenset(_RUN + "0123456789")
_OF_NUMBERS = "0123456789.eE+-/"
_CHANGED = re.compile(
    r"0\d+|\d{16,}|\d++(?:\.\d*+)?[eE][+-]?\d+|\d{1,2}[-/]\d{1,2}(?:[-/]\d{2,4})?"
    rf"|[{re.escape(_RUN)}].*",
    re.DOTALL,
)
_EMPTY_ROW = '""'
_TWO = [f"{number:02}" for number in range(60)]
_SQL_TYPES = {
    CellKind.INTEGER: "INTEGER",
    CellKind.NUMBER: "REAL",
    CellKind.TRUTH: "BOOLEAN",
    CellKind.MIXED: "",
}
_HEADER = re.compile(r'(?:"(?:[^"]|"")*",)*"(?:[^"]|"")*"\r\n')


@contextmanager
def csv_table(file: BinaryIO, columns: Sequence[Column], *, with_bom: bool) -> Iterator[Write]:
    """Comma-separated values as Excel reads them; text that it would run or change has a ' before.

    Moments are to the second.
    """
    if with_bom:
        file.write(BOM_UTF8)

    forms = [_CSV_FORMS.get(column.kind, _csv_other) for column in columns]

    def write(cells: list[Any]) -> None:
        told = ["" if cell is None else form(cell) for form, cell in zip(forms, cells, strict=True)]
        # A row without a sign in it would be no row.
        file.write(f"{','.join(told) or _EMPTY_ROW}\r\n".encode("latin-1"))

    # In quotes throughout, by which an earlier table is known from a list that somebody wrote.
    headings = (_quoted(_guarded(column.heading)) for column in columns)
    file.write((",".join(headings) + "\r\n").encode())
    yield write


def _csv_text(text: str) -> str:
    if text and text[0] in _RISKY_START:
        text = _guarded(text)
    if not text.isascii():
        # A sign for each byte: to join them with signs of four bytes takes twice the time.
        text = text.encode().decode("latin-1")
    if '"' in text:
        return _quoted(text)
    return f'"{text}"' if "," in text or "\n" in text or "\r" in text else text


def _csv_moment(at: datetime) -> str:
    """As isoformat does it for a time that has no zone, in a quarter of the time."""
    return f"{_day(at.toordinal())} {_TWO[at.hour]}:{_TWO[at.minute]}:{_TWO[at.second]}"


@lru_cache(10_000)
def _day(number: int) -> str:
    return date.fromordinal(number).isoformat()


def _csv_other(cell: object) -> str:
    return _csv_text(cell) if isinstance(cell, str) else str(cell).lower()


_CSV_FORMS: dict[CellKind, Callable[[Any], str]] = {
    CellKind.TEXT: _csv_text,
    CellKind.INTEGER: str,
    CellKind.NUMBER: str,
    CellKind.MOMENT: _csv_moment,
}


def _guarded(text: str) -> str:
    # An id is told from a number by its letters, in a fifth of the time.
    letters = text.strip(_OF_NUMBERS)
    if (letters and letters.isascii() and text[:1] not in _RUN) or not _CHANGED.fullmatch(text):
        return text
    return f"'{text}"


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@contextmanager
def jsonl_table(file: BinaryIO, columns: Sequence[Column]) -> Iterator[Write]:
    """One flat object a line, by the columns' headings."""
    headings = [column.heading for column in columns]

    def write(cells: Sequence[object]) -> None:
        row = dict(zip(headings, cells, strict=True))
        file.write(orjson.dumps(row, default=_moment, option=_JSONL))

    yield write


_JSONL = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATETIME


def _moment(cell: object) -> object:
    return cell.isoformat(timespec="milliseconds") if isinstance(cell, datetime) else cell


@contextmanager
def sqlite_table(file: BinaryIO, columns: Sequence[Column]) -> Iterator[Write]:
    """An SQLite file with one table, `notes`; a name that differs in case alone has a number."""
    # A NUL ends a text of SQL.
    names = numbered((column.heading.replace("\0", "") for column in columns), str.lower)
    types = (_SQL_TYPES.get(column.kind, "TEXT") for column in columns)
    said = ", ".join(map(" ".join, zip(map(_quoted, names), types, strict=True)))
    # Nobody else writes there, and on some systems its locks would meet the one that is held.
    place = f"{Path(file.name).absolute().as_uri()}?nolock=1"
    db = sqlite3.connect(place, isolation_level=None, uri=True)
    try:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        db.execute(f"PRAGMA application_id = {SQLITE_MARK}")
        db.execute(f"CREATE TABLE notes ({said})")
        holes = ",".join("?" * len(columns))
        db.execute("BEGIN")

        def write(cells: Sequence[object]) -> None:
            db.execute(f"INSERT INTO notes VALUES ({holes})", [_moment(cell) for cell in cells])

        yield write
        db.execute("COMMIT")
    except sqlite3.Error as error:
        raise OSError(str(error)) from error
    finally:
        db.close()


def text_of(cell: object) -> str | None:
    """A cell as text, where a column holds nothing else."""
    return cell if cell is None or isinstance(cell, str) else as_json(_moment(cell))


def is_text_table(line: bytes, columns: Sequence[Column]) -> bool:
    """Whether a file's first line is a text table's, of these columns or others.

    Raises ValueError for what cannot be read.
    """
    text = line.decode("utf-8-sig")
    if text.startswith("{"):
        names = list(json.loads(text))
        return FETCHED_AT in names or names == [column.heading for column in columns]
    return _HEADER.fullmatch(text) is not None
