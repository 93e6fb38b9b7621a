"""All inputs as one stream of pages of note ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from harvester.errors import InputError
from harvester.halt import Look, go_on
from harvester.model import BadLine, Page
from harvester.source.forms import Form
from harvester.source.ids import Named

PAGE_SIZE = 10_000

_FIRST_PAGE = 1_000  # lines: the first call need not wait for a whole page
_BAD_LINES_SHOWN = 10


class Source(Protocol):
    """Anything that gives pages."""

    @property
    def form(self) -> Form:
        """How it is read, and its name."""

    def check(self) -> None:
        """Raise InputError for what cannot be read."""

    def check_rereadable(self) -> None:
        """Raise UsageError for what can be read only once."""

    def may_wait(self) -> bool:
        """Tell whether reading may have to wait for somebody."""

    def pages(self) -> Iterator[Page]:
        """Yield what is in it; raises InputError."""


class Texts(Struct, frozen=True):
    """Texts that name notes: ids, links, share texts; bad ones are counted from 1."""

    texts: Iterable[object]
    form: Form

    def check(self) -> None:
        """Nothing can be wrong with texts before they are read."""

    def check_rereadable(self) -> None:
        """Whoever wants to read them twice keeps them in a list."""

    def may_wait(self) -> bool:
        """They are all at hand, or as good as."""
        return False

    def pages(self) -> Iterator[Page]:
        """Yield what the texts name."""
        numbered = enumerate(self.texts, 1)
        while batch := list(islice(numbered, _FIRST_PAGE)):
            page = Page([])
            for number, text in batch:
                named = Named([], "not text")
                if isinstance(text, str):
                    named = self.form.rule.read(text)
                self.form.add(page, number, named, str(text))
            yield page


def streamed(
    sources: Sequence[Source], look: Look = go_on, page_size: int = PAGE_SIZE
) -> Iterator[Page]:
    """Return the pages of `sources`, each of at most `page_size` lines.

    All files are checked, and the beginnings of regular ones read, before this returns; the pages
    then come as a stream, what a pipe gives at once. Raises InputError, naming the file, for what
    is missing or cannot be read; while the pages are read, also what `look` raises.
    """
    pager = _Pager(page_size)
    for source in sources:
        source.check()
    return _streamed(sources, pager, look)


def check(sources: Sequence[Source], look: Look = go_on) -> None:
    """Read all sources through; raises InputError that lists the first bad lines, at most ten.

    Raises UsageError for a pipe among the files, which could not be read a second time.
    """
    for source in sources:
        source.check_rereadable()
    found: list[BadLine] = []
    for page in streamed(sources, look):
        found += page.bad
        if len(found) >= _BAD_LINES_SHOWN:
            break
    if found:
        lines = "\n".join(map(str, found[:_BAD_LINES_SHOWN]))
        raise InputError(f"some lines of the input name no note, so nothing was done:\n{lines}")


class _Pager:
    """Makes pages of even size from pieces of any size; the first page is a small one."""

    __slots__ = ("_held", "_limit", "_size")

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError("a page holds at least one line")
        self._size = size
        self._limit = min(size, _FIRST_PAGE)
        self._held = Page([])

    def add(self, piece: Page) -> Iterator[Page]:
        """Take a piece in; yields the pages that are full now."""
        held = self._held
        held.ids.extend(piece.ids)
        held.bad.extend(piece.bad)
        held.differed.extend(piece.differed)
        for note_id, text in piece.extra_fields.items():
            if held.extra_fields.setdefault(note_id, text) != text:
                held.differed.append(note_id)
                held.extra_fields[note_id] = text
        held.told.extend(piece.told)
        held.warned.extend(piece.warned)
        while len(self._held.ids) + len(self._held.bad) >= self._limit:
            yield self._cut()

    def rest(self) -> Iterator[Page]:
        """Yield what is held as a last page, if anything is."""
        held = self._held
        if held.ids or held.bad or held.told or held.warned:
            yield self._cut()

    def _cut(self) -> Page:
        held, limit = self._held, self._limit
        ids, bad, extra = held.ids, held.bad, held.extra_fields
        page = replace(held, ids=ids[:limit], bad=bad[: max(0, limit - len(ids))], extra_fields={})
        self._held = Page(ids[len(page.ids) :], bad[len(page.bad) :])
        if extra:
            page.extra_fields.update((key, extra[key]) for key in page.ids if key in extra)
            self._held.extra_fields.update((key, extra[key]) for key in self._held.ids)
        self._limit = self._size
        return page


def _streamed(sources: Iterable[Source], pager: _Pager, look: Look) -> Iterator[Page]:
    for source in sources:
        may_wait = source.may_wait()
        if may_wait:
            yield from pager.rest()
        names_note = False
        for piece in source.pages():
            look()
            names_note = names_note or bool(piece.ids)
            if may_wait:
                yield from _live(pager.add(piece))
                yield from _live(pager.rest())
            else:
                yield from pager.add(piece)
        if not names_note:
            yield Page([], warned=[f"{source.form.name} names no note"])
    yield from pager.rest()


def _live(pages: Iterator[Page]) -> Iterator[Page]:
    return (replace(page, is_live=True) for page in pages)
