"""HTML inputs, and tables that programs wrote as HTML or XML: rows of cells, or texts and links."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html.parser import HTMLParser

from harvester.model import Page
from harvester.source.forms import Form
from harvester.source.ids import NO_NOTE
from harvester.source.lines import LONGEST_LINE
from harvester.source.streams import BrokenStreamError
from harvester.source.tables import Row, table_pages

_ROWS = frozenset({"tr", "row"})
_CELLS = frozenset({"td", "th", "cell"})
_UNSEEN = frozenset({"script", "style", "title", "head"})
# Pages hold pictures and scripts in one piece.
_LONGEST = 16 * LONGEST_LINE
_INLINE = frozenset({"a", "b", "i", "u", "em", "strong", "span", "font", "data", "p", "br", "s"})


def markup_pages(blocks: Iterable[str], form: Form, *, is_table: bool) -> Iterator[Page]:
    """Yield pages of the rows of all tables, or else of all texts and links."""
    if is_table:
        yield from table_pages(_rows(blocks, is_table=True), form)
        return
    for rows in _rows(blocks, is_table=False):
        page = Page([])
        for number, cells in rows:
            text = " ".join(cells)
            named = form.rule.read(text)
            # A page says much else.
            if named.reason != NO_NOTE:
                form.add(page, number, named, text)
        yield page


def _rows(blocks: Iterable[str], *, is_table: bool) -> Iterator[list[Row]]:
    reader = _Reader(is_table=is_table)
    for block in blocks:
        reader.feed(block)
        yield reader.taken()
        if reader.is_endless:
            raise BrokenStreamError("a tag or a row that does not end")
    reader.close()
    reader.end_row()
    yield reader.taken()


class _Reader(HTMLParser):
    """Gathers the cells of rows; outside of tables a row is what stands in one block."""

    def __init__(self, *, is_table: bool) -> None:
        super().__init__()
        self._is_table = is_table
        self._rows: list[Row] = []
        self._cells: list[str] = []
        self._links: list[str] = []
        self._is_open = not is_table
        self._unseen = ""
        self._line = 1

    def taken(self) -> list[Row]:
        """The rows that are whole; they are not given again."""
        rows, self._rows = self._rows, []
        return rows

    @property
    def is_endless(self) -> bool:
        """Whether a row is longer than a line may be, or a tag or a text than any is."""
        row = sum(map(len, self._cells)) + len(self._cells)
        return row > LONGEST_LINE or len(self.rawdata) > _LONGEST

    def end_row(self) -> None:
        """What was gathered is a row."""
        self._end_cell()
        if any(self._cells):
            self._rows.append((self._line, self._cells))
        self._cells = []
        self._line = self.getpos()[0]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSEEN:
            self._unseen = tag
        elif tag in _ROWS or (not self._is_table and tag not in _INLINE):
            self.end_row()
            self._is_open = not self._is_table
        elif tag in _CELLS:
            self._end_cell()
            self._cells.append("")
            self._is_open = True
        href = next((value for name, value in attrs if name in {"href", "ss:href"} and value), "")
        if href and self._is_open:
            self._links.append(href)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._unseen:
            self._unseen = ""
        elif tag in _CELLS:
            self._end_cell()
            self._is_open = not self._is_table
        elif tag in _ROWS or (not self._is_table and tag not in _INLINE):
            self.end_row()

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if text and self._is_open and not self._unseen:
            self._cells = self._cells or [""]
            self._cells[-1] = f"{self._cells[-1]} {text}".strip()

    def _end_cell(self) -> None:
        """A link says where it leads unless its text does."""
        links = [link for link in self._links if not self._cells or link not in self._cells[-1]]
        if links:
            self._cells = self._cells or [""]
            self._cells[-1] = " ".join(filter(None, (self._cells[-1], *links)))
        self._links = []
