"""All inputs as one stream of pages of note ids."""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from msgspec.structs import replace

from harvester.errors import InputError, UsageError
from harvester.halt import Look, go_on
from harvester.model import BadLine, Page
from harvester.sanitize import sanitize
from harvester.source.carry import Carry
from harvester.source.forms import Form
from harvester.source.ids import IdRule, NoNoteError
from harvester.source.inputs import Input

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PAGE_SIZE = 10_000

_STDIN = "-"
_FIRST_PAGE = 1_000  # lines: the first call need not wait for a whole page
_ID_FIELDS = ("noteId", "note_id", "id")
_BAD_LINES_SHOWN = 10


def read_pages(
    inputs: Sequence[str | os.PathLike[str]],
    *,
    rule: IdRule,
    id_field: str | None = None,
    carry: Carry | None = None,
    stdin: BinaryIO,
    page_size: int = PAGE_SIZE,
    look: Look = go_on,
) -> Iterator[Page]:
    """Return the pages of `inputs` (paths; `-` is `stdin`), each of at most `page_size` lines.

    All files are checked, and the beginnings of regular ones read, before this returns; the pages
    then come as a stream, what a pipe gives at once. `id_field` names the column or JSON field that
    holds the note ids, `carry` what travels along with them. Raises InputError, naming the file,
    for what is missing or cannot be read, and UsageError where `-` comes twice; while the pages are
    read, InputError for broken input, and what `look` raises.
    """
    pager = _Pager(page_size)
    listed = _listed(inputs, rule, id_field, carry, stdin)
    for source in listed:
        source.check()
    return _streamed(listed, pager, look)


def iterable_pages(
    ids: Iterable[str], *, rule: IdRule, page_size: int = PAGE_SIZE, look: Look = go_on
) -> Iterator[Page]:
    """Yield the pages of `ids`, bare or URLs; bad ones are reported in `<ids>`, counted from 1."""
    form = Form("<ids>", rule, ())
    pager = _Pager(page_size)
    numbered = enumerate(ids, 1)
    while batch := list(islice(numbered, _FIRST_PAGE)):
        look()
        yield from pager.add(_page_of(batch, form))
    yield from pager.rest()


def check(
    inputs: Sequence[str | os.PathLike[str]],
    *,
    rule: IdRule,
    id_field: str | None = None,
    carry: Carry | None = None,
    stdin: BinaryIO,
    look: Look = go_on,
) -> None:
    """Read all `inputs` through; raises InputError that lists the first bad lines, at most ten.

    `stdin` must be seekable, as from `spool`, and stands at its beginning again afterwards. Raises
    UsageError for a pipe among the files, which could not be read a second time.
    """
    listed = _listed(inputs, rule, id_field, carry, stdin)
    for source in listed:
        source.check_rereadable()
    found: list[BadLine] = []
    for page in read_pages(
        inputs, rule=rule, id_field=id_field, carry=carry, stdin=stdin, look=look
    ):
        found += page.bad
        if len(found) >= _BAD_LINES_SHOWN:
            break
    if found:
        lines = "\n".join(map(str, found[:_BAD_LINES_SHOWN]))
        raise InputError(f"some lines of the input name no note, and --strict is set:\n{lines}")
    if any(source.stdin is not None for source in listed):
        stdin.seek(0)


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
        self._held.ids.extend(piece.ids)
        self._held.bad.extend(piece.bad)
        self._held.extra_fields.update(piece.extra_fields)
        while len(self._held.ids) + len(self._held.bad) >= self._limit:
            yield self._cut()

    def rest(self) -> Iterator[Page]:
        """Yield what is held as a last page, if anything is."""
        if self._held.ids or self._held.bad:
            yield self._cut()

    def _cut(self) -> Page:
        ids, bad, extra = self._held.ids, self._held.bad, self._held.extra_fields
        page = Page(ids[: self._limit], bad[: max(0, self._limit - len(ids))])
        self._held = Page(ids[len(page.ids) :], bad[len(page.bad) :])
        if extra:
            page.extra_fields.update((key, extra[key]) for key in page.ids if key in extra)
            self._held.extra_fields.update((key, extra[key]) for key in self._held.ids)
        self._limit = self._size
        return page


def _streamed(inputs: Iterable[Input], pager: _Pager, look: Look) -> Iterator[Page]:
    for source in inputs:
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
            yield Page([], without=source.form.name)
    yield from pager.rest()


def _live(pages: Iterator[Page]) -> Iterator[Page]:
    return (replace(page, is_live=True) for page in pages)


def _listed(
    inputs: Sequence[str | os.PathLike[str]],
    rule: IdRule,
    id_field: str | None,
    carry: Carry | None,
    stdin: BinaryIO,
) -> list[Input]:
    paths = [os.fspath(path) for path in inputs]
    if paths.count(_STDIN) > 1:
        raise UsageError("standard input (-) can be read only once: give - once")
    fields = _ID_FIELDS if id_field is None else (id_field,)
    return [
        Input(path, Form("<stdin>", rule, fields, carry), stdin)
        if path == _STDIN
        else Input(path, Form(sanitize(path), rule, fields, carry))
        for path in paths
    ]


def _page_of(batch: list[tuple[int, str]], form: Form) -> Page:
    page = Page([])
    for number, text in batch:
        try:
            page.ids.append(_id_from(text, form.rule))
        except NoNoteError as error:
            page.bad.append(form.bad(number, str(error), str(text)))
    return page


def _id_from(text: object, rule: IdRule) -> str:
    if not isinstance(text, str):
        raise NoNoteError("not text")
    return rule.find(text)
