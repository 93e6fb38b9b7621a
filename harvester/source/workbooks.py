"""Excel workbooks (.xlsx), read by python-calamine, of the extra `harvester[excel]`."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from harvester.errors import InputError
from harvester.model import Page
from harvester.source.forms import Form
from harvester.source.streams import BrokenStreamError
from harvester.source.tables import Row, layout_of, table_pages

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

_LONGEST_FILE = 512 * 1024 * 1024
_LONGEST_UNPACKED = 4 * 1024 * 1024 * 1024
_BATCH = 1000
_SAMPLED = 200
_MISSING = (
    "an Excel workbook is read with the extra: pip install 'harvester[excel]'; or save it as CSV "
    "(UTF-8)"
)


def workbook_pages(blocks: Iterable[bytes], form: Form) -> Iterator[Page]:
    """Yield pages of the rows of the first sheet that has notes.

    Raises InputError where there is none, or where what reads workbooks is not installed;
    BrokenStreamError for what is no workbook.
    """
    book = io.BytesIO()
    for block in blocks:
        if book.write(block) and book.tell() > _LONGEST_FILE:
            raise BrokenStreamError("this workbook is too large: save it as CSV (UTF-8)")
    _check(book)
    try:
        from python_calamine import CalamineError, CalamineWorkbook  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(f"{form.name}: {_MISSING}") from None
    try:
        workbook = CalamineWorkbook.from_filelike(book)
        names = workbook.sheet_names
        sheets = ((name, workbook.get_sheet_by_name(name)) for name in names)
        found = next(((name, sheet) for name, sheet in sheets if _has_notes(sheet, form)), None)
        name, sheet = found or (names[0], workbook.get_sheet_by_name(names[0]))
    except (CalamineError, OSError, ValueError, IndexError) as error:
        raise BrokenStreamError(f"this workbook cannot be read ({error}): save it anew") from None
    if len(names) > 1:
        form.telling.told.append(f"{form.name}: of {len(names)} sheets {name!r} is read")
    yield from table_pages(_batches(sheet), form)


def _check(book: io.BytesIO) -> None:
    """Refuse an archive that is no workbook, or would not fit into memory."""
    try:
        with zipfile.ZipFile(book) as archive:
            files = {info.filename: info.file_size for info in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise BrokenStreamError(f"this zip archive is broken ({error}): save it anew") from None
    if "mimetype" in files:
        raise BrokenStreamError("this is an OpenDocument file: save it as .xlsx or CSV (UTF-8)")
    if not any(name.startswith("xl/") for name in files):
        raise BrokenStreamError("this is a zip archive: unpack it, and name the files in it")
    if sum(files.values()) > _LONGEST_UNPACKED:
        raise BrokenStreamError("this workbook is too large: save it as CSV (UTF-8)")
    book.seek(0)


def _has_notes(sheet: CalamineSheet, form: Form) -> bool:
    rows = list(islice(_rows(sheet), _SAMPLED))
    layout = layout_of(rows, form)
    if layout is None:
        return False
    data = (row for _, row in rows[layout.begin :])
    named = form.rule.mentioned
    return any(named(row[at]) for row in data for at in layout.columns if at < len(row))


def _batches(sheet: CalamineSheet) -> Iterator[list[Row]]:
    rows = _rows(sheet)
    while batch := list(islice(rows, _BATCH)):
        yield batch


def _rows(sheet: CalamineSheet) -> Iterator[Row]:
    begin = (sheet.start or (0, 0))[0] + 1
    for number, row in enumerate(sheet.iter_rows(), begin):
        yield number, [cell if type(cell) is str else _shown(cell) for cell in row]


def _shown(cell: object) -> str:
    """A value as people see it in its cell."""
    match cell:
        case bool():
            return str(cell).upper()
        case float() if cell.is_integer() and abs(cell) < 1e15:  # noqa: PLR2004 - Excel's digits
            return str(int(cell))
        case float():
            return f"{cell:.15g}".upper()
        case datetime() if cell.time() == time():
            return cell.date().isoformat()
        case datetime() | date() | time() | timedelta():
            return str(cell)
        case _:
            return str(cell)
