"""Excel workbooks (.xlsx), read row by row by openpyxl, of the extra `harvester[excel]`."""

from __future__ import annotations

import re
import tempfile
import warnings
import zipfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime, time
from itertools import islice
from typing import IO, TYPE_CHECKING

from harvester.errors import InputError, want_of_extra
from harvester.model import Page
from harvester.source.forms import Form
from harvester.source.streams import BrokenStreamError
from harvester.source.tables import Row, layout_of, table_pages

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from openpyxl.worksheet._reader import WorkSheetParser

_LONGEST_UNPACKED = 4 * 1024 * 1024 * 1024
_BATCH = 1000
_SAMPLED = 200
_STYLES = "xl/styles.xml"
_MOST_COLUMNS = 16_384
_PADDED = 256  # a cell in a far column does not widen all rows below
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_TABLE, _ROW, _FORMULA = f"{_MAIN}sheetData", f"{_MAIN}row", f"{_MAIN}f"
_LINK = f"{_MAIN}hyperlink"
_PART = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_ESCAPED = re.compile("_x00([01][0-9A-Fa-f])_")  # XML has no signs such as a line end of old
# Formats that Chinese Excel knows by number alone.
_CHINESE_DATES = frozenset({*range(27, 37), *range(50, 59)})
_MISSING = (
    f"an Excel workbook is read with an extra: {want_of_extra('excel')}; or save it as CSV (UTF-8)"
)


def workbook_pages(blocks: Iterable[bytes], form: Form) -> Iterator[Page]:
    """Yield pages of the rows of the first sheet that has notes.

    Raises InputError where there is none, or where what reads workbooks is not installed;
    BrokenStreamError for what is no workbook; OSError where there is no room to unpack it.
    """
    try:
        import openpyxl  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise InputError(f"{form.name}: {_MISSING}") from None
    with tempfile.TemporaryFile() as file:
        file.writelines(blocks)
        _check(file)
        # Of dates that are none, and what it would not write again: nothing a list is read for.
        warnings.filterwarnings("ignore", module=r"openpyxl\.")
        with _in_words():
            book = _Book(file)
        if not book.sheets:
            raise BrokenStreamError("this workbook has no sheet of cells")
        name = next((name for name in book.sheets if _has_notes(book, name, form)), None)
        if name is None:
            book.shows_links = True
            name = next((name for name in book.sheets if _has_notes(book, name, form)), None)
        name = name or next(iter(book.sheets))
        if len(book.sheets) > 1:
            form.telling.told.append(f"{form.name}: of {len(book.sheets)} sheets {name!r} is read")
        yield from table_pages(_batches(book, name), form)


def _check(file: IO[bytes]) -> None:
    """Refuse an archive that is no workbook, or of a size that none has."""
    try:
        with zipfile.ZipFile(file) as archive:
            files = {info.filename: info.file_size for info in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise BrokenStreamError(f"this zip archive is broken ({error}): save it anew") from None
    if "mimetype" in files:
        raise BrokenStreamError("this is an OpenDocument file: save it as .xlsx or CSV (UTF-8)")
    if not any(name.startswith("xl/") for name in files):
        raise BrokenStreamError("this is a zip archive: unpack it, and name the files in it")
    if sum(files.values()) > _LONGEST_UNPACKED:
        raise BrokenStreamError("this workbook is too large: save it as CSV (UTF-8)")
    file.seek(0)


@contextmanager
def _in_words() -> Iterator[None]:
    """Say of whatever is raised within that the workbook cannot be read."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - broken workbooks raise errors of all kinds
        why = str(error).partition("\n")[0]
        raise BrokenStreamError(f"this workbook cannot be read ({why}): save it anew") from None


def _has_notes(book: _Book, name: str, form: Form) -> bool:
    with closing(book.rows(name)) as begin:
        rows = list(islice(begin, _SAMPLED))
    layout = layout_of(rows, form)
    if layout is None:
        return False
    data = (row for _, row in rows[layout.begin :])
    named = form.rule.mentioned
    return any(named(row[at]) for row in data for at in layout.columns if at < len(row))


def _batches(book: _Book, name: str) -> Iterator[list[Row]]:
    with closing(book.rows(name)) as rows:
        while batch := list(islice(rows, _BATCH)):
            yield batch


class _Book:
    """A workbook in `file`: names of its sheets, those that are seen first, and their rows.

    With `shows_links` a cell says where its link leads, too.

    Of the library only what finds the sheets and reads cells: the rest refuses workbooks for their
    fills or properties, keeps an element of each row that it has read, and fills gaps of any size.
    """

    def __init__(self, file: IO[bytes]) -> None:
        from openpyxl.reader.excel import ExcelReader  # noqa: PLC0415 - an extra

        self._book = ExcelReader(file, read_only=True, data_only=True, keep_links=False)
        self._book.read_manifest()
        self._book.read_strings()
        self._book.read_workbook()
        sheets = sorted(
            self._book.parser.find_sheets(), key=lambda found: found[0].state != "visible"
        )
        self.sheets: dict[str, str] = {
            sheet.name: part.target
            for sheet, part in sheets
            if part.target in self._book.valid_files and "chartsheet" not in part.Type
        }
        self.shows_links = False
        self._formats = self._formats_of_styles()

    def _links(self, name: str) -> dict[str, str]:
        """Where the cells of a sheet lead to, by their places."""
        from openpyxl.packaging.relationship import (  # noqa: PLC0415 - an extra
            get_dependents,
            get_rels_path,
        )
        from openpyxl.xml.functions import iterparse  # noqa: PLC0415 - an extra

        path = get_rels_path(self.sheets[name]).lstrip("/")
        if not self.shows_links or path not in self._book.valid_files:
            return {}
        parts = {part.Id: part.Target for part in get_dependents(self._book.archive, path)}
        links: dict[str, str] = {}
        with self._book.archive.open(self.sheets[name]) as source:
            for _, element in iterparse(source):
                if element.tag == _LINK and (link := parts.get(element.get(_PART))):
                    links[element.get("ref", "")] = link
                elif element.tag == _TABLE:
                    element.clear()
        return links

    def _formats_of_styles(self) -> list[str]:
        """The format of numbers of each style that a cell may have."""
        from openpyxl.styles.numbers import BUILTIN_FORMATS  # noqa: PLC0415 - an extra
        from openpyxl.xml.functions import fromstring  # noqa: PLC0415 - an extra

        if _STYLES not in self._book.valid_files:
            return []
        styles = fromstring(self._book.archive.read(_STYLES))
        formats = BUILTIN_FORMATS | dict.fromkeys(_CHINESE_DATES, "yyyy/m/d")
        for own in styles.iterfind(f"{_MAIN}numFmts/{_MAIN}numFmt"):
            formats[int(own.get("numFmtId"))] = own.get("formatCode", "")
        used = styles.iterfind(f"{_MAIN}cellXfs/{_MAIN}xf")
        return [formats.get(int(style.get("numFmtId", 0)), "") for style in used]

    def rows(self, name: str) -> Generator[Row, None, None]:
        """The rows that are there, not those between them."""
        from openpyxl.styles.numbers import (  # noqa: PLC0415 - an extra
            is_date_format,
            is_timedelta_format,
        )
        from openpyxl.worksheet._reader import WorkSheetParser  # noqa: PLC0415 - an extra
        from openpyxl.xml.functions import iterparse  # noqa: PLC0415 - an extra

        formats = list(enumerate(self._formats))
        percents = {at for at, code in formats if "%" in code}
        table: Element | None = None
        width = 0
        with _in_words(), self._book.archive.open(self.sheets[name]) as source:
            links = self._links(name)
            reader = WorkSheetParser(
                source,
                self._book.shared_strings,
                data_only=True,
                epoch=self._book.wb.epoch,
                date_formats={at for at, code in formats if is_date_format(code)},
                timedelta_formats={at for at, code in formats if is_timedelta_format(code)},
            )
            for event, element in iterparse(source, ("start", "end")):
                if element.tag == _TABLE:
                    table = element
                elif element.tag == _ROW and event == "end" and table is not None:
                    reader.row_counter = int(element.get("r") or reader.row_counter + 1)
                    reader.col_counter = 0
                    cells = _cells(element, reader, percents, links)
                    width = max(width, min(len(cells), _PADDED))
                    yield reader.row_counter, cells + [""] * (width - len(cells))
                    table.clear()
            if table is None:  # as in the strict spelling of the format, which is rare
                raise ValueError("no cells are found in it")


def _cells(
    row: Element, reader: WorkSheetParser, percents: set[int], links: Mapping[str, str]
) -> list[str]:
    """The cells of a row up to the last that is not empty."""
    cells: list[str] = []
    for element in row:
        cell = reader.parse_cell(element)
        value = cell["value"]
        is_text = type(value) is str
        text = value if is_text else _shown(value, is_percent=cell["style_id"] in percents)
        if not text and (formula := element.findtext(_FORMULA)):  # nobody has computed it
            text = f"={formula}"
        if links and (link := links.get(element.get("r", ""), "")) not in text:
            text = f"{text} {link}"
        if "_x00" in text:
            text = _ESCAPED.sub(lambda sign: chr(int(sign[1], 16)), text)
        if text and cell["column"] <= _MOST_COLUMNS:
            cells += [""] * (cell["column"] - len(cells))
            cells[cell["column"] - 1] = text
    return cells


def _shown(value: object, *, is_percent: bool) -> str:
    """A value as people see it in its cell, but never rounded."""
    match value:
        case bool():
            return str(value).upper()
        case int() | float() if is_percent:
            return f"{value * 100:.15g}%"
        case float():
            whole = value.is_integer() and abs(value) < 1e15  # noqa: PLR2004 - Excel's digits
            return str(int(value)) if whole else f"{value:.15g}".upper()
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case _:
            return "" if value is None else str(value)
