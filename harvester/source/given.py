"""What a run is given to read: one path, several, standard input, or any iterable of note ids."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from harvester.errors import InputError
from harvester.halt import Look, go_on
from harvester.model import Page
from harvester.source.carry import parse_carry
from harvester.source.ids import IdRule, NoNoteError
from harvester.source.options import InputOptions, Inputs
from harvester.source.pages import check, iterable_pages, read_pages
from harvester.source.streams import spool

_BAD_SHOWN = 10


def pages_of(
    inputs: Inputs, options: InputOptions, stdin: BinaryIO | None = None, look: Look = go_on
) -> Iterator[Page]:
    """The pages of note ids that inputs name; with `strict` all are read and checked here.

    Raises UsageError, InputError, and what `look` raises, also while the pages are read.
    """
    rule, carry = IdRule(options.id_pattern), parse_carry(options.carry)
    paths, ids = _told_apart(inputs, rule)
    if ids is not None:
        pages = iterable_pages(ids, rule=rule, look=look)
        return _all_good(pages) if options.strict else pages
    source, field = _standard_input() if stdin is None else stdin, options.id_field

    def read_from(stdin: BinaryIO) -> Iterator[Page]:
        return read_pages(paths, rule=rule, id_field=field, carry=carry, stdin=stdin, look=look)

    if not options.strict:
        return read_from(source)
    with ExitStack() as undo:
        if "-" in paths:
            source = undo.enter_context(spool(source, look))
        check(paths, rule=rule, id_field=field, carry=carry, stdin=source, look=look)
        pages = read_from(source)
        return _closing(pages, undo.pop_all())


def _closing(pages: Iterator[Page], held: ExitStack) -> Iterator[Page]:
    """The same pages; what they are read from is let go of after the last."""
    with held:
        yield from pages


def _standard_input() -> BinaryIO:
    """Standard input; empty where it was closed, as some schedulers do."""
    return BytesIO() if sys.stdin is None else sys.stdin.buffer


def _told_apart(inputs: Inputs, rule: IdRule) -> tuple[list[str], Iterator[str] | None]:
    """Paths, or ids: one text or path alone is a path; in an iterable, the first item tells."""
    if isinstance(inputs, str | os.PathLike):
        return [os.fspath(inputs)], None
    items = iter(inputs)
    first = next(items, None)
    if first is None:
        return [], None
    if isinstance(first, str) and not _is_path(first) and _is_id(first, rule):
        return [], (os.fspath(item) for item in chain([first], items))
    return [os.fspath(item) for item in chain([first], items)], None


def _is_path(text: str) -> bool:
    try:
        return text == "-" or Path(text).exists()
    except (OSError, ValueError):  # too long for a path, or holding a NUL
        return False


def _is_id(text: str, rule: IdRule) -> bool:
    try:
        rule.find(text)
    except NoNoteError:
        return False
    return True


def _all_good(pages: Iterator[Page]) -> Iterator[Page]:
    """The same pages once all are read and checked; raises InputError that lists bad ones."""
    read = list(pages)
    bad = [line for page in read for line in page.bad]
    if bad:
        listed = "\n".join(map(str, bad[:_BAD_SHOWN]))
        raise InputError(f"some ids name no note, and strict is set:\n{listed}")
    return iter(read)
