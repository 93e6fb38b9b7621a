"""One input: a file or standard input, checked early, read late."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import chain
from pathlib import PurePath
from typing import BinaryIO

from msgspec import Struct

from harvester.errors import InputError, UsageError
from harvester.model import Page
from harvester.source.detect import begun, kind_of
from harvester.source.documents import document_pages
from harvester.source.forms import Form, line_pages
from harvester.source.lines import chunks
from harvester.source.markup import markup_pages
from harvester.source.streams import ZIP, BrokenStreamError, is_live, unpacked
from harvester.source.tables import DRAWN, csv_rows, table_pages, undrawn
from harvester.source.text import text_blocks
from harvester.source.workbooks import workbook_pages

_PACKED = frozenset({".gz", ".bz2", ".xz"})


class Input(Struct, frozen=True):
    """A file at `path`, or `stdin` where that is given; `form` tells how to read it.

    `kind` and `encoding` are what was said of it, if anything was.
    """

    path: str
    form: Form
    stdin: BinaryIO | None = None
    kind: str | None = None
    encoding: str | None = None

    def check(self) -> None:
        """Raise InputError for a file that cannot be read; of a regular one, read the beginning.

        What may wait, a pipe or standard input, is left alone.
        """
        if self.stdin is not None:
            return
        mode = self._mode()
        if stat.S_ISDIR(mode):
            raise InputError(f"{self.form.name}: this is a folder: name the files in it")
        if not os.access(self.path, os.R_OK):
            raise InputError(f"{self.form.name}: no permission to read this file")
        if stat.S_ISREG(mode):
            with closing(self.pages()) as pages:
                next(pages, None)

    def check_rereadable(self) -> None:
        """Raise UsageError for a pipe given as a file: it can be read only once."""
        if self.stdin is None and not stat.S_ISREG(self._mode()):
            raise UsageError(
                f"{self.form.name}: here every input is read twice, but this one can be read only "
                "once: save it to a file first, or give it as standard input, by the name -"
            )

    def may_wait(self) -> bool:
        """Tell whether reading may have to wait for somebody to write."""
        if self.stdin is not None:
            return is_live(self.stdin)
        return not stat.S_ISREG(self._mode())

    def pages(self) -> Generator[Page, None, None]:
        """Yield what is in the input, a page for each piece read; raises InputError."""
        form = self.form
        form.telling.clear()
        with self._opened() as stream:
            try:
                for page in self._pages(unpacked(stream)):
                    yield form.telling.onto(page)
            except (BrokenStreamError, OSError) as error:
                reached = f" after line {form.telling.lines}" if form.telling.lines else ""
                raise InputError(f"{form.name}: cannot be read on{reached}: {error}") from None

    def _pages(self, blocks: Iterator[bytes]) -> Iterator[Page]:
        head = next(blocks, b"")
        blocks = chain((head,), blocks)
        if head.startswith(ZIP) or self.kind == "xlsx":
            return workbook_pages(blocks, self.form)
        return self._text_pages(self._counted(text_blocks(blocks, self.encoding, self._tell)))

    def _text_pages(self, blocks: Iterator[str]) -> Iterator[Page]:
        head = begun(blocks, may_wait=self.may_wait())
        names = [suffix for suffix in PurePath(self.path.lower()).suffixes if suffix not in _PACKED]
        kind = kind_of(head, self.form, self.kind, names[-1] if names else "")
        whole: Iterable[str] = chain((head,), blocks)
        match kind.form:
            case "json":
                return document_pages(iter(whole), self.form)
            case "markup":
                return markup_pages(whole, self.form, is_table=kind.is_table)
            case "csv":
                rows = csv_rows(chunks(whole), self.form, kind.delimiter, kind.skipped)
                return table_pages(undrawn(rows) if kind.delimiter in DRAWN else rows, self.form)
            case _:
                return line_pages(chunks(whole), self.form, is_json=kind.form == "jsonl")

    def _counted(self, blocks: Iterator[str]) -> Iterator[str]:
        for block in blocks:
            self.form.telling.lines += block.count("\n")
            yield block

    def _tell(self, text: str) -> None:
        self.form.telling.told.append(f"{self.form.name}: {text}")

    def _opened(self) -> AbstractContextManager[BinaryIO]:
        if self.stdin is not None:
            return nullcontext(self.stdin)
        try:
            return open(self.path, "rb")  # noqa: PTH123 - "-" and pipes are no less paths than files
        except OSError as error:
            raise InputError(f"{self.form.name}: cannot be opened: {error.strerror}") from None

    def _mode(self) -> int:
        try:
            return os.stat(self.path).st_mode  # noqa: PTH116 - as for opening
        except FileNotFoundError:
            raise InputError(
                f"{self.form.name}: no such file, nor a note's id or link: check it"
            ) from None
        except (OSError, ValueError) as error:
            raise InputError(f"{self.form.name}: cannot be read: {error}") from None
