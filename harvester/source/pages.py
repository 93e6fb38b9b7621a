"""All inputs as one stream of pages of note ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from time import monotonic

from msgspec import Struct
from msgspec.structs import replace

from harvester.errors import InputError
from harvester.halt import Look, go_on
from harvester.model import BadLine, Page
from harvester.source.forms import Form, add_extra_fields
from harvester.source.ids import Named
from harvester.source.inputs import Input

# In lines: the first call need not wait for a whole page.
_PAGE, _FIRST_PAGE = 10_000, 1_000
# Of texts that may wait for the next one, a part of so many may, and those of so many seconds.
_PART, _SOON = 16, 0.1
_BAD_LINES_SHOWN = 10


class Texts(Struct, frozen=True):
    """Texts that name notes: ids, links, share texts; bad ones are counted from 1."""

    texts: Iterable[object]
    form: Form

    def check(self) -> None:
        """Nothing can be wrong with texts before they are read."""

    def check_rereadable(self) -> None:
        """Whoever wants to read them twice keeps them in a list."""

    def may_wait(self) -> bool:
        """Tell whether they are an iterator's, which may wait for each one."""
        return not isinstance(self.texts, Sized)

    def pages(self) -> Iterator[Page]:
        """Yield what the texts name: a few for each page, and fewer where they come slowly."""
        page, held, begun = Page([]), 0, monotonic()
        for number, text in enumerate(self.texts, 1):
            named = Named([], "not text")
            if isinstance(text, str):
                named = self.form.rule.read(text)
            self.form.add(page, number, named, str(text))
            held += 1
            if held >= min(number // _PART, _FIRST_PAGE) or monotonic() - begun > _SOON:
                yield page
                page, held, begun = Page([]), 0, monotonic()
        yield page


Source = Input | Texts


def streamed(sources: Sequence[Source], look: Look = go_on) -> Iterator[Page]:
    """Return the pages of `sources`.

    All files are checked, and the beginnings of regular ones read, before this returns; the pages
    then come as a stream, what a pipe gives at once. Raises InputError, naming the file, for what
    is missing or cannot be read; while the pages are read, also what `look` raises.
    """
    for source in sources:
        source.check()
    return _streamed(sources, look)


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


def _streamed(sources: Iterable[Source], look: Look) -> Iterator[Page]:
    """Pages of pieces that are put together until there is enough; what may wait comes at once."""
    held, enough = Page([]), _FIRST_PAGE
    for source in sources:
        waits, names_note = source.may_wait(), False
        if waits and _tells(held):
            yield held
            held = Page([])
        for piece in source.pages():
            look()
            names_note = names_note or bool(piece.ids)
            if waits:
                if _tells(piece):
                    yield replace(piece, is_live=isinstance(source, Input))
                continue
            _add(held, piece)
            if len(held.ids) + len(held.bad) >= enough:
                yield held
                held, enough = Page([]), _PAGE
        if not names_note:
            held.warned.append(f"{source.form.name} names no note")
    if _tells(held):
        yield held


def _tells(page: Page) -> bool:
    return bool(page.ids or page.bad or page.told or page.warned)


def _add(held: Page, piece: Page) -> None:
    held.ids.extend(piece.ids)
    held.bad.extend(piece.bad)
    held.differed.extend(piece.differed)
    for note_id, text in piece.extra_fields.items():
        add_extra_fields(held, [note_id], text)
    held.told.extend(piece.told)
    held.warned.extend(piece.warned)
