"""From the lines of OUTPUT to the rows of a table, without holding them in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, Protocol
from zoneinfo import ZoneInfo

from msgspec import Struct

from harvester.errors import UsageError, want_of_extra
from harvester.export.columns import Choice, Column, columns_of
from harvester.export.forms import Write, csv_table, jsonl_table, sqlite_table
from harvester.export.place import is_table
from harvester.export.rows import RowLayout
from harvester.export.shape import Seen
from harvester.halt import Look
from harvester.output.merge import Merge, Part, changed
from harvester.results import check_earlier, result_into

# The extras that bring a form's library, named like the modules that import it.
_EXTRAS = {".xlsx": "excel", ".parquet": "parquet"}


class Places(Protocol):
    """Where lines are, by their notes; a place is counted through all parts."""

    def oldest_first(self) -> Iterator[tuple[int, int]]:
        """The place of each line, twice, in the order in which they were fetched."""

    def first_and_newest(self) -> Iterator[tuple[int, int]]:
        """The places of each note's first and newest line."""


class Table(Struct, frozen=True):
    """A table to be made: of what, where, which columns and lines, in which time zone."""

    parts: Sequence[Part]
    place: Path
    choice: Choice
    zone: ZoneInfo
    with_bom: bool = True


def check_library(form: str) -> None:
    """Raise UsageError where the library for a form is not installed."""
    extra = _EXTRAS.get(form)
    if extra is None:
        return
    try:
        import_module(f"harvester.export.{extra}")
    except ImportError as error:
        raise UsageError(
            f"a {form} file needs the library {error.name}, which is not installed: "
            f"{want_of_extra(extra)}."
        ) from error


def _opened(
    table: Table, file: BinaryIO, columns: Sequence[Column]
) -> AbstractContextManager[Write]:
    match table.place.suffix.lower():
        case ".csv":
            return csv_table(file, columns, with_bom=table.with_bom)
        case ".jsonl":
            return jsonl_table(file, columns)
        case ".sqlite":
            return sqlite_table(file, columns)
        case ".xlsx":
            from harvester.export.excel import excel_table  # noqa: PLC0415 - an extra

            return excel_table(file, columns)
        case _:
            from harvester.export.parquet import parquet_table  # noqa: PLC0415 - the same

            return parquet_table(file, columns, table.zone)


def write_table(table: Table, seen: Seen, work: Merge, places: Places, look: Look) -> int:
    """Write a table of what is seen of lines while they are read; gives how many rows it has.

    `work` puts the lines into `places`; `look` is called between rows. Raises UsageError,
    UnseenError, LocalIOError; what was there before stays then.
    """
    work.read()
    columns = columns_of(seen, table.choice)
    check_earlier(table.place, "table of this command's", partial(is_table, columns))
    rows = 0
    with result_into(table.place) as file, _opened(table, file, columns) as write:
        for cells in _rows(table, RowLayout(columns, table.zone, seen), work, places):
            look()
            write(cells)
            rows += 1
    return rows


def _rows(table: Table, layout: RowLayout, work: Merge, places: Places) -> Iterator[list[object]]:
    """A row a note, of its newest line, or of its first and its newest; or a row a line."""
    if not table.choice.with_changes and not table.choice.with_history:
        yield from map(layout.cells, work.newest())
        return
    with ExitStack() as stack:
        first, newest = (stack.enter_context(_Lines(table.parts)) for _ in range(2))
        if table.choice.with_changes:
            for at_first, at_newest in places.first_and_newest():
                yield layout.changes(first.at(at_first), newest.at(at_newest))
        else:
            for place, _ in places.oldest_first():
                yield layout.cells(newest.at(place))


class _Lines(ExitStack):
    """The parts, open, to read lines by their places."""

    def __init__(self, parts: Sequence[Part]) -> None:
        super().__init__()
        self._parts = parts
        self._begins = [0, *accumulate(part.size for part in parts)]
        self._files = [self.enter_context(_open(part)) for part in parts]

    def at(self, place: int) -> bytes:
        """The line that begins there."""
        number = bisect_right(self._begins, place) - 1
        try:
            self._files[number].seek(place - self._begins[number])
            return self._files[number].readline()
        except OSError as error:
            raise changed(self._parts[number]) from error


def _open(part: Part) -> BinaryIO:
    if part.is_gzip:
        raise UsageError(f"{part.path} is packed, and lines are read in any order: unpack it.")
    return part.open()
