"""One input: a file or standard input, checked early, read late."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import PurePath
from typing import BinaryIO

from msgspec import Struct

from harvester.errors import InputError, UsageError
from harvester.model import Page
from harvester.source.forms import Form, json_pages, mixed_pages, text_pages
from harvester.source.lines import Chunk, chunks
from harvester.source.streams import is_live, text_blocks
from harvester.source.tables import table_pages

Reader = Callable[[Iterator[Chunk], Form], Iterator[Page]]

_READERS: dict[str, Reader] = {
    ".csv": partial(table_pages, delimiter=","),
    ".tsv": partial(table_pages, delimiter="\t"),
    ".jsonl": json_pages,
    ".ndjson": json_pages,
}


class Input(Struct, frozen=True):
    """A file at `path`, or `stdin` where that is given; `form` tells how to read it."""

    path: str
    form: Form
    stdin: BinaryIO | None = None

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
                f"{self.form.name}: --strict reads every input twice, but this one can be read "
                "only once: save it to a file first, or give it as standard input"
            )

    def may_wait(self) -> bool:
        """Tell whether reading may have to wait for somebody to write."""
        if self.stdin is not None:
            return is_live(self.stdin)
        return not stat.S_ISREG(self._mode())

    def pages(self) -> Generator[Page, None, None]:
        """Yield what is in the input, a page for each piece read; raises InputError."""
        with self._opened() as stream:
            yield from self._reader()(chunks(text_blocks(stream), self.form.name), self.form)

    def _opened(self) -> AbstractContextManager[BinaryIO]:
        if self.stdin is not None:
            return nullcontext(self.stdin)
        try:
            return open(self.path, "rb")  # noqa: PTH123 - "-" and pipes are no less paths than files
        except OSError as error:
            raise InputError(f"{self.form.name}: cannot be opened: {error.strerror}") from None

    def _reader(self) -> Reader:
        if self.stdin is not None:
            return mixed_pages
        name = PurePath(self.path.lower().removesuffix(".gz"))
        # A pipe such as <(command) has no name that could tell.
        return _READERS.get(name.suffix, mixed_pages if self.may_wait() else text_pages)

    def _mode(self) -> int:
        try:
            return os.stat(self.path).st_mode  # noqa: PTH116 - as for opening
        except FileNotFoundError:
            raise InputError(f"{self.form.name}: no such file: check its name") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{self.form.name}: cannot be read: {error}") from None
